-- Elements are settled, whoever holds them by now.
--
-- KEYS: values by id, the consumers, the list of each consumer that ARGV names
-- ARGV: how many consumers, their names, ids
-- Returns how many were there, and those ids that a consumer may hold who is not named.
local consumers, found, left = tonumber(ARGV[1]), {0}, {}
for n = consumers + 2, #ARGV do
    local removed = 0
    for consumer = 1, consumers do
        removed = redis.call('LREM', KEYS[consumer + 2], 1, ARGV[n])
        if removed == 1 then
            redis.call('HDEL', KEYS[1], ARGV[n])
            found[1] = found[1] + 1
            break
        end
    end
    if removed == 0 then
        table.insert(left, ARGV[n])
    end
end
if #left == 0 then
    return found
end
local named = {}
for n = 2, consumers + 1 do
    named[ARGV[n]] = true
end
for _, consumer in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if not named[consumer] then
        for _, id in ipairs(left) do
            table.insert(found, id)
        end
        break
    end
end
return found
