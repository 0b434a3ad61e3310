--
-- Takes entries that nobody has read. How large one is shows when it is read: as few are read at once as those before were large.
--
-- KEYS: the stream
-- ARGV: the group, who we are, how many at most, how many bytes about, of how many bytes an entry is not told
-- Returns 1 where nothing is left, or else 0, and those that are ours now.
local room, most, budget = tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[4])
local largest, count = 1, 1
told[1] = 0
while room > 0 and bytes < budget do
    count = math.max(1, math.min(count, room, math.floor((budget - bytes) / largest)))
    local read = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count, 'STREAMS', KEYS[1], '>')
    local entries = read and read[1][2] or {}
    for _, entry in ipairs(entries) do
        largest = math.max(largest, tell(entry[1], 1, entry[2], most))
    end
    if #entries < count then
        told[1] = 1
        break
    end
    room = room - count
    -- All of them at once are in the server's memory once more.
    count = math.min(count * 4, 16)
end
return told
