-- read: what is there, without a lease. A script, because only the store's own clock tells how old it is.
-- KEYS 1 the identity
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local names = {'g', 'v', 'e', 'at', 'k'}
local f = {}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do f[names[i]] = value end
-- As in take.
local largest = 9007199254740990
local function n(name)
  local number = tonumber(f[name] or 0) or 0
  return number >= 0 and number <= largest and math.floor(number) or 0
end
if not f.v or n('e') <= now then return false end
return {n('g'), f.v, math.max(0, now - n('at')), n('e') - now, n('k')}
