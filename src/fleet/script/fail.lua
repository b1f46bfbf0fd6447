-- fail: there is no token.
-- KEYS 1 the identity
-- ARGV 1 owner, 2 fence, 3 sealed failure, or '' where it is this replica's own affair, 4 nobody asks for, in ms,
--      5 for whom: 0 all when a second replica has seen one, 1 all at once, 2 all, who ask each for itself, 6 channel, 7 tag
local f, n = fields('lo', 'f', 'xo', 'xs', 'xn')
if f.lo ~= ARGV[1] or f.f ~= ARGV[2] then return {'lost'} end
redis.call('HDEL', KEYS[1], 'lo', 'ls', 'lu')
redis.pcall('PUBLISH', ARGV[6], ARGV[7] .. ' 0')
if ARGV[3] == '' then return {'released'} end
-- One replica may have a broken network or an old secret; two that see the same are right. Caches of one replica are one.
local function replica(owner) return string.match(owner, '^(.*)~') or owner end
local reach = ARGV[5]
-- That each asks for itself was no failure.
if f.xs == '2' then f.xo, f.xn = nil, nil end
if reach == '0' and (f.xs == '1' or (f.xo and replica(f.xo) ~= replica(ARGV[1]))) then reach = '1' end
local failures = reach == '2' and 0 or n('xn') + 1
redis.call('HSET', KEYS[1], 'x', ARGV[3], 'xf', ARGV[2], 'xo', ARGV[1], 'xu', text(now + tonumber(ARGV[4])),
  'xs', reach, 'xn', text(failures))
return {reach == '0' and 'noted' or 'shared'}
