-- An element is settled, whoever holds it by now.
--
-- KEYS: values by id, the consumers, the list of each consumer that ARGV names
-- ARGV: the id, the consumers
-- Returns 1 where it was there, 0 where nobody holds it, and -1 where a consumer may who is not named.
local named = {}
for n = 2, #ARGV do
    if redis.call('LREM', KEYS[n + 1], 1, ARGV[1]) == 1 then
        redis.call('HDEL', KEYS[1], ARGV[1])
        return 1
    end
    named[ARGV[n]] = true
end
for _, consumer in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if not named[consumer] then
        return -1
    end
end
return 0
