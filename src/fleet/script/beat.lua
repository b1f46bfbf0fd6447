-- beat: I am here; who else?
-- KEYS 1 the members
-- ARGV 1 instance, 2 gone after, in ms
redis.call('ZADD', KEYS[1], text(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '0', text(now - tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], text(tonumber(ARGV[2]) * 2))
return {now, redis.call('ZCARD', KEYS[1])}
