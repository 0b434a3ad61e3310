-- Reads elements that we hold anew.
--
-- KEYS: our own list, values by id
-- ARGV: how many bytes about, of how many bytes a value is not read, ids
-- Returns how many of the ids were looked at, and of each that is ours its id, its length and its value, or -1 where somebody removed that.
local read, bytes = {0}, 0
for n = 3, #ARGV do
    if bytes >= tonumber(ARGV[1]) then
        break
    end
    local id = ARGV[n]
    read[1] = read[1] + 1
    local value = redis.call('HGET', KEYS[2], id)
    if value then
        local large = #value > tonumber(ARGV[2])
        table.insert(read, id)
        table.insert(read, #value)
        table.insert(read, large and '' or value)
        bytes = bytes + (large and 0 or #value)
    elseif redis.call('LREM', KEYS[1], 1, id) == 1 then
        table.insert(read, id)
        table.insert(read, -1)
        table.insert(read, '')
    end
end
return read
