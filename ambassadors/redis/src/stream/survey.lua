-- Looks at what we do not hold.
--
-- KEYS: the stream
-- ARGV: the group, the lease in milliseconds, to how many ids to count, and to how many entries where Redis has not
-- Returns false where there is no such group; else how many entries it has not read, how many of those it has were not heard of for
-- longer than the lease, and of each consumer that holds any its name, how many, and when it was heard of, by the server's clock.
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
            local range = { 'XRANGE', KEYS[1], '(' .. group['last-delivered-id'], '+', 'COUNT', ARGV[4] }
            waiting = #redis.call(unpack(range))
        end
        local idle = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[2], '-', '+', ARGV[3])
        local found, time = { waiting, #idle }, redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        for _, words in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
            local consumer = {}
            for n = 1, #words, 2 do
                consumer[words[n]] = words[n + 1]
            end
            if consumer['pending'] > 0 then
                table.insert(found, { consumer['name'], consumer['pending'], now - consumer['idle'] })
            end
        end
        return found
    end
end
return false
