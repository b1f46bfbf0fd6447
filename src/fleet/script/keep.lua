-- keep: the leader lives.
-- KEYS 1 the identity
-- ARGV 1 owner, 2 fence, 3 lease in ms
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local f = redis.call('HMGET', KEYS[1], 'lo', 'f')
if f[1] ~= ARGV[1] or f[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'lu', string.format('%.0f', now + tonumber(ARGV[3])))
return 1
