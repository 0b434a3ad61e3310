-- Looks at what we do not hold.
--
-- KEYS: the stream
-- ARGV: the group, the lease in milliseconds, to how many to count where Redis has not
-- Returns false where there is no such group; else how many entries it has not read, and how many of those it has were not heard of
-- for longer than the lease.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return false
end
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = {}
    for n = 1, #flat, 2 do
        group[flat[n]] = flat[n + 1]
    end
    if group['name'] == ARGV[1] then
        local waiting = group['lag']
        if not waiting then
            -- Entries were deleted, or the group was set to stand elsewhere.
            local range = { 'XRANGE', KEYS[1], '(' .. group['last-delivered-id'], '+', 'COUNT', ARGV[3] }
            waiting = #redis.call(unpack(range))
        end
        local idle = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[2], '-', '+', ARGV[3])
        return { waiting, #idle }
    end
end
return false
