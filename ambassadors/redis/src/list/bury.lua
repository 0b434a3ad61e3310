-- An element is written to where dead letters go, whoever holds it by now.
--
-- KEYS: values by id, the consumers, where dead letters go, the list of each consumer that ARGV names
-- ARGV: the id, the consumers
-- Returns 1 where it was there, 0 where nobody holds it, and -1 where a consumer may who is not named.
local id = ARGV[1]
for n = 2, #ARGV do
    local list = KEYS[n + 2]
    if redis.call('LPOS', list, id) then
        -- First, for it may be refused.
        local value = redis.call('HGET', KEYS[1], id)
        if value then
            redis.call('RPUSH', KEYS[3], value)
        end
        redis.call('LREM', list, 1, id)
        redis.call('HDEL', KEYS[1], id)
        return 1
    end
end
local named = {}
for n = 2, #ARGV do
    named[ARGV[n]] = true
end
for _, consumer in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if not named[consumer] then
        return -1
    end
end
return 0
