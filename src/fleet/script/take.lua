-- take: who gives me a token?
-- It reads first and writes last, so that a store which is full or read-only still answers `value`.
-- KEYS 1 the identity
-- ARGV 1 owner, 2 lease in ms, 3 longest lease in ms, 4 mark of what is held or '', 5 why (ahead cold refused forced apart),
--      6 newest generation known, 7 age of what is held in ms or '', 8 requests of the budget or 0, 9 its window in ms,
--      10 whether what refused the token ever took one (0 1)
local f, n = fields('g', 'v', 'mark', 'e', 'at', 'k', 'ok', 'f', 'lo', 'ls', 'lu', 'x', 'xf', 'xu', 'xs', 'xn', 'b', 'r')
local me, have, why, known = ARGV[1], ARGV[4], ARGV[5], tonumber(ARGV[6])
local alone = why == 'forced' or why == 'apart'

-- The younger token is the newer one: numbers begin again after the store has lost everything, and of two that are good who asks
-- ahead takes what the others have.
local live = f.v and n('e') > now
local risen = why == 'ahead' and known > 0 and n('g') > known
local newer = ARGV[7] == '' or risen or n('at') > now - tonumber(ARGV[7])
-- Where the server has returned the token that it had, who asks ahead need not be told that by the server itself.
if live and newer and (f.mark ~= have or risen) and not alone then
  return {'value', n('g'), f.v, math.max(0, now - n('at')), n('e') - now, n('k')}
end

-- A lease that begins in the future is of a clock that has been set back.
local ends = math.min(n('lu'), n('ls') + tonumber(ARGV[3]))
local led = f.lo and n('ls') <= now and now < ends
local by_other = led and f.lo ~= me
local retried = led and f.lo == me

-- A token is on its way to a replica that waits, so nothing is held back from it. A second request of who leads already is the
-- same renewal.
local renewals, renews = {}, why == 'refused' and not by_other and not retried
if renews then
  local hold = 0
  if live and f.mark == have and n('k') > 0 and f.ok ~= '1' then
    hold = math.min(n('at'), now) + math.min(600, 30 * 2 ^ (n('k') - 1)) * 1000 - now
  end
  for at, taken in string.gmatch(f.r or '', '(%d+):(%d)') do
    at = tonumber(at)
    if at <= now and now - at < 600000 then renewals[#renewals + 1] = {at = at, taken = taken} end
  end
  -- How long until fewer than `most` lie within `span`.
  local function full(most, span, of)
    local within = {}
    for _, one in ipairs(renewals) do
      if now - one.at < span and (not of or one.taken == of) then within[#within + 1] = one.at end
    end
    return #within < most and 0 or within[#within - most + 1] + span - now
  end
  hold = math.max(hold, full(6, 10000), full(30, 600000))
  -- What never took a token may be wrong about this one. It leaves room for what did, also in ten minutes.
  if ARGV[10] == '0' then
    hold = math.max(hold, full(2, 10000, '0'), full(4, 60000, '0'), full(20, 600000, '0'))
  end
  if hold > 0 then return {'hold', hold} end
end

if f.x and (f.xs == '1' or f.xs == '2') and n('xu') > now and not alone then return {'failed', n('xf'), f.x, n('xu') - now} end
if by_other and why ~= 'apart' then return {'wait', ends - now, now - n('ls')} end

-- The budget: when requests were sent, in grains of a sixteenth of the window, each by its beginning, since another replica may
-- have another window while a configuration is changed.
local budget, window, used, writes = tonumber(ARGV[8]), tonumber(ARGV[9]), 0, {}
if budget > 0 then
  local width = math.max(1, math.ceil(window / 16))
  local grain, mine, grains, oldest = now - now % width, 1, {}, nil
  for at, count in string.gmatch(f.b or '', '(%d+):(%d+)') do
    at, count = tonumber(at), tonumber(count)
    if at <= now and now < at + 17 * width then
      used, oldest = used + count, math.min(oldest or at, at)
      if at == grain then mine = mine + count else grains[#grains + 1] = text(at) .. ':' .. text(count) end
    end
  end
  if used >= budget then return {'spent', oldest + 17 * width - now} end
  used = used + 1
  grains[#grains + 1] = text(grain) .. ':' .. text(mine)
  writes = {'b', table.concat(grains, ',')}
end

-- Apart, nobody is led: others need not wait for a token that they do not get.
local fence = 0
if why ~= 'apart' then
  -- After the largest number they begin again.
  local function below(number) return number < largest and number or 0 end
  fence = math.max(below(n('g')), below(n('f')), below(known)) + 1
  for _, part in ipairs({'f', text(fence), 'lo', me, 'ls', text(now), 'lu', text(now + tonumber(ARGV[2]))}) do
    writes[#writes + 1] = part
  end
end
if renews then
  local r = {}
  for _, one in ipairs(renewals) do r[#r + 1] = text(one.at) .. ':' .. one.taken end
  r[#r + 1] = text(now) .. ':' .. ARGV[10]
  writes[#writes + 1], writes[#writes + 2] = 'r', table.concat(r, ',')
end
if #writes > 0 then
  redis.call('HSET', KEYS[1], unpack(writes))
  redis.call('PEXPIRE', KEYS[1], text(math.max(n('e') - now, window, 3600000)))
end
return {'lead', fence, n('xn'), fence > 0 and f.lo and f.lo ~= me and f.lo or '', used}
