-- Leaves the group, unless others are still to take over what we hold: they would never have it.
--
-- KEYS: the stream
-- ARGV: the group, who we are
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 1
