-- keep: the leader lives.
-- KEYS 1 the identity
-- ARGV 1 owner, 2 fence, 3 lease in ms
local f = fields('lo', 'f')
if f.lo ~= ARGV[1] or f.f ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'lu', text(now + tonumber(ARGV[3])))
return 1
