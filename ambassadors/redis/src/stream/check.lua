-- Does all that taking and settling does, as a consumer of its own and without effect, so that a right that is missing is found.
--
-- KEYS: the stream
-- ARGV: the group, a consumer that nobody is
local key, group, nobody = KEYS[1], ARGV[1], ARGV[2]
redis.call('XPENDING', key, group, '-', '+', 1, nobody)
redis.call('XRANGE', key, '0-1', '0-1')
redis.call('XACK', key, group, '0-1')
redis.call('XCLAIM', key, group, nobody, 0, '0-1', 'JUSTID')
redis.call('XAUTOCLAIM', key, group, nobody, 9007199254740991, '0-0', 'COUNT', 1, 'JUSTID')
redis.call('XREADGROUP', 'GROUP', group, nobody, 'COUNT', 1, 'STREAMS', key, '0')
redis.call('XGROUP', 'DELCONSUMER', key, group, nobody)
return 1
