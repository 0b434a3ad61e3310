--
-- Reads entries that we hold anew, which counts as a delivery.
--
-- KEYS: the stream
-- ARGV: the group, who we are, how many bytes about, of how many bytes an entry is not told, ids
-- Returns how many of the ids were looked at, how many of those were cut off the stream, and those that are there and ours.
told[1], told[2] = 0, 0
for n = 5, #ARGV do
    if bytes >= tonumber(ARGV[3]) then
        break
    end
    local id = ARGV[n]
    told[1] = told[1] + 1
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])[1]
    if pending then
        local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id)[1]
        if entry then
            tell(id, pending[4] + 1, entry[2], tonumber(ARGV[4]))
        else
            redis.call('XACK', KEYS[1], ARGV[1], id)
            told[2] = told[2] + 1
        end
    end
end
return told
