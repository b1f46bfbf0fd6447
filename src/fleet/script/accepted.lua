-- accepted: an upstream has taken a token.
-- KEYS 1 the identity
-- ARGV 1 its generation
if fields('g').g ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'ok', '1')
return 1
