-- Says that we are here and hold these, or, where an idle time is given, that nothing was heard of us for so long.
--
-- KEYS: the stream
-- ARGV: the group, who we are, the idle time in milliseconds, ids in their order
-- Returns those that are not ours, and after an empty one those that were cut off the stream.
local ours, lost, held = {}, {}, {}
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], ARGV[#ARGV], 1000000, ARGV[2])) do
    ours[pending[1]] = true
end
for n = 4, #ARGV do
    table.insert(ours[ARGV[n]] and held or lost, ARGV[n])
end
table.insert(lost, '')
if #held > 0 then
    local claim = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}
    for _, id in ipairs(held) do
        table.insert(claim, id)
        ours[id] = false
    end
    for _, word in ipairs({'IDLE', ARGV[3], 'JUSTID'}) do
        table.insert(claim, word)
    end
    for _, id in ipairs(redis.call(unpack(claim))) do
        ours[id] = true
    end
    for _, id in ipairs(held) do
        if not ours[id] then
            table.insert(lost, id)
        end
    end
end
return lost
