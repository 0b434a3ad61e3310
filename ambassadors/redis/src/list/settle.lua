-- An element is settled, whoever holds it by now.
--
-- KEYS: values by id, the consumers, the list of each consumer that ARGV names, where dead letters go (if this is one)
-- ARGV: the id, done or dead, the consumers
-- Returns 1 where it was there, 0 where nobody holds it, and -1 where a consumer may who is not named.
local id, dead = ARGV[1], ARGV[2] == 'dead'
for n = 3, #ARGV do
    if redis.call('LPOS', KEYS[n], id) then
        -- First, for it may be refused.
        local value = dead and redis.call('HGET', KEYS[1], id)
        if value then
            redis.call('RPUSH', KEYS[#KEYS], value)
        end
        redis.call('LREM', KEYS[n], 1, id)
        redis.call('HDEL', KEYS[1], id)
        return 1
    end
end
local named = {}
for n = 3, #ARGV do
    named[ARGV[n]] = true
end
for _, consumer in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if not named[consumer] then
        return -1
    end
end
return 0
