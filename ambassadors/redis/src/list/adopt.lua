-- Takes over what somebody holds whose lease is over, in their order and by their ids.
--
-- KEYS: our own list, values by id, our lease, the consumers, their list, their lease
-- ARGV: our token, who they are, how many at most, how many bytes about, of how many bytes a value is not read
-- Returns false when our own lease is over; else of each its id, its length and its value, or -1 where somebody removed that.
local lease = redis.call('GET', KEYS[3])
if not lease or lease:sub(1, #ARGV[1]) ~= ARGV[1] then
    return false
end
if redis.call('EXISTS', KEYS[6]) == 1 then
    return {}
end
local taken, bytes = {}, 0
for _ = 1, tonumber(ARGV[3]) do
    if bytes >= tonumber(ARGV[4]) then
        break
    end
    local id = redis.call('LMOVE', KEYS[5], KEYS[1], 'LEFT', 'RIGHT')
    if not id then
        break
    end
    local value = redis.call('HGET', KEYS[2], id)
    if value then
        local large = #value > tonumber(ARGV[5])
        table.insert(taken, id)
        table.insert(taken, #value)
        table.insert(taken, large and '' or value)
        bytes = bytes + (large and 0 or #value)
    else
        redis.call('LREM', KEYS[1], -1, id)
        table.insert(taken, id)
        table.insert(taken, -1)
        table.insert(taken, '')
    end
end
if redis.call('EXISTS', KEYS[5]) == 0 then
    redis.call('SREM', KEYS[4], ARGV[2])
end
return taken
