-- Says that we are here and hold these, those of them that are ours still: XCLAIM alone would take them back.
--
-- KEYS: the stream
-- ARGV: the group, who we are, ids in their order
-- Returns those that were cut off the stream.
local ours, claim = {}, {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[#ARGV], 1000000, ARGV[2])) do
    ours[pending[1]] = true
end
local held = {}
for n = 3, #ARGV do
    if ours[ARGV[n]] then
        table.insert(held, ARGV[n])
        table.insert(claim, ARGV[n])
    end
end
local there, trimmed = {}, {}
if #held > 0 then
    table.insert(claim, 'JUSTID')
    for _, id in ipairs(redis.call(unpack(claim))) do
        there[id] = true
    end
    for _, id in ipairs(held) do
        if not there[id] then
            table.insert(trimmed, id)
        end
    end
end
return trimmed
