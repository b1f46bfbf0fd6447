-- put: a token for all.
-- KEYS 1 the identity
-- ARGV 1 fence, 2 sealed token, 3 its mark, 4 usable for, in ms, 5 because of a 401 (0 1), 6 channel, 7 keep the rest for, in ms,
--      8 tag
local f, n = fields('g', 'v', 'mark', 'e', 'at', 'k', 'ok', 'f')
local fence, usable = tonumber(ARGV[1]), tonumber(ARGV[4])

-- Said twice, because the first answer was lost.
if f.v and fence == n('g') and f.mark == ARGV[3] then return {'put'} end
-- The leader was slow and another one has taken over: all keep what that one has put. The largest number is followed by the first.
if f.v and fence <= n('g') and n('g') < largest then
  return {'older', n('g'), f.v, math.max(0, now - n('at')), math.max(0, n('e') - now), n('k')}
end
local streak = f.ok == '1' and 0 or n('k')
if ARGV[5] == '1' then streak = streak + 1 end
redis.call('HSET', KEYS[1], 'g', text(fence), 'v', ARGV[2], 'mark', ARGV[3], 'e', text(now + usable), 'at', text(now),
  'k', text(streak), 'ok', '0', 'f', text(math.max(fence, n('f'))))
redis.call('HDEL', KEYS[1], 'x', 'xf', 'xo', 'xu', 'xs', 'xn')
-- The lease of one who took over goes on: it puts a newer one.
if n('f') <= fence then redis.call('HDEL', KEYS[1], 'lo', 'ls', 'lu') end
redis.call('PEXPIRE', KEYS[1], text(math.max(usable, tonumber(ARGV[7]))))
-- A user who may not publish shares without it.
redis.pcall('PUBLISH', ARGV[6], ARGV[8] .. ' ' .. text(fence) .. (ARGV[5] == '1' and ' refused' or ''))
return {'put'}
