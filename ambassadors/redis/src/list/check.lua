-- Does all that taking and settling does, on keys of its own and without effect, so that a right that is missing is found.
--
-- KEYS: the list, a list of ours, values by id, the consumers, a lease
-- ARGV: a text that nothing is called
local none = ARGV[1]
redis.call('LMOVE', KEYS[1], KEYS[1], 'LEFT', 'LEFT')
redis.call('LMOVE', KEYS[2], KEYS[2], 'LEFT', 'RIGHT')
redis.call('LREM', KEYS[2], 1, none)
redis.call('HDEL', KEYS[3], none)
redis.call('SREM', KEYS[4], none)
redis.call('DEL', KEYS[5])
redis.call('SET', KEYS[5], none, 'PX', 1)
redis.call('DEL', KEYS[5])
redis.call('SADD', KEYS[4], none)
redis.call('SREM', KEYS[4], none)
redis.call('HSET', KEYS[3], none, none)
redis.call('HGET', KEYS[3], none)
redis.call('HSTRLEN', KEYS[3], none)
redis.call('HDEL', KEYS[3], none)
redis.call('LRANGE', KEYS[2], 0, -1)
redis.call('LPOS', KEYS[2], none)
redis.call('EXISTS', KEYS[2])
return redis.call('LLEN', KEYS[1])
