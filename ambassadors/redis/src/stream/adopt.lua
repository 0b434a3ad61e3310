-- Takes over entries that nothing was heard of for longer than a lease.
--
-- KEYS: the stream
-- ARGV: the group, who we are, the lease in milliseconds, how many at most
-- Returns how many were cut off the stream, and the ids of those that are ours now, which is no delivery.
local found, from = {0}, '0-0'
-- What is ours stays as it is, though we stood still: it is not delivered anew.
local ours = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', 1000, ARGV[2])
if #ours > 0 then
    local claim = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}
    for _, pending in ipairs(ours) do
        table.insert(claim, pending[1])
    end
    table.insert(claim, 'JUSTID')
    found[1] = #ours - #redis.call(unpack(claim))
end
repeat
    local wanted = tonumber(ARGV[4]) - (#found - 1)
    local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], from, 'COUNT', wanted, 'JUSTID')
    from = claimed[1]
    for _, id in ipairs(claimed[2]) do
        table.insert(found, id)
    end
    -- Redis has forgotten these by itself.
    found[1] = found[1] + #(claimed[3] or {})
until from == '0-0' or #found > tonumber(ARGV[4])
return found
