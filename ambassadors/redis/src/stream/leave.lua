-- Has others take over what we hold, as if it had not been delivered to us; or leaves the group where that is nothing: what is pending
-- would go along, and nobody had it.
--
-- KEYS: the stream
-- ARGV: the group, who we are, how many milliseconds ago whoever is gone was heard of
local from = '-'
repeat
    local ours = redis.call('XPENDING', KEYS[1], ARGV[1], from, '+', 1000, ARGV[2])
    for _, pending in ipairs(ours) do
        local often = math.max(0, pending[4] - 1)
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, pending[1], 'IDLE', ARGV[3], 'RETRYCOUNT', often, 'JUSTID')
        from = '(' .. pending[1]
    end
until #ours < 1000
if from == '-' then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 1
