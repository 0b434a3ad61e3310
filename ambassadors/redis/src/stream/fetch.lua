-- Reads entries that we hold anew, which counts as a delivery.
--
-- KEYS: the stream
-- ARGV: the group, who we are, ids
-- Returns how many were cut off the stream, and of each that is there and ours its id, how often it was delivered, and its fields.
local found = {0}
for n = 3, #ARGV do
    local id = ARGV[n]
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])[1]
    if pending then
        local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id)[1]
        if entry then
            table.insert(found, {id, pending[4] + 1, entry[2]})
        else
            redis.call('XACK', KEYS[1], ARGV[1], id)
            found[1] = found[1] + 1
        end
    end
end
return found
