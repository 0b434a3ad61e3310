-- Takes elements of a list: each is given an id, stands in our own list by it, and keeps its value beside.
--
-- KEYS: the list, our own list, values by id, our lease
-- ARGV: our token, LEFT or RIGHT, with what ids begin, the number of the first, how many at most, how many bytes about,
--       of how many bytes a value is not read
-- Returns false when our lease is over; else how many are left, and of each its id, its length and its value.
local lease = redis.call('GET', KEYS[4])
if not lease or lease:sub(1, #ARGV[1]) ~= ARGV[1] then
    return false
end
local taken, bytes = {0}, 0
for n = 0, tonumber(ARGV[5]) - 1 do
    if bytes >= tonumber(ARGV[6]) then
        break
    end
    local value = redis.call('LMOVE', KEYS[1], KEYS[2], ARGV[2], 'RIGHT')
    if not value then
        break
    end
    local id = ARGV[3] .. (tonumber(ARGV[4]) + n)
    local said = redis.pcall('HSET', KEYS[3], id, value)
    if type(said) == 'number' then
        said = redis.pcall('LSET', KEYS[2], -1, id)
    end
    -- What a step has written stays, though it ends with an error: without an id it would be nobody's.
    if said.err then
        redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', ARGV[2])
        redis.pcall('HDEL', KEYS[3], id)
        return said
    end
    local large = #value > tonumber(ARGV[7])
    table.insert(taken, id)
    table.insert(taken, #value)
    table.insert(taken, large and '' or value)
    bytes = bytes + (large and 0 or #value)
end
taken[1] = redis.call('LLEN', KEYS[1])
return taken
