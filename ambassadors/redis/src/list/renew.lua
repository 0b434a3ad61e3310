-- Says that we are here, for as long as a lease lasts.
--
-- KEYS: our lease, the consumers
-- ARGV: our token, who we are, the lease in milliseconds, a text that is another each time, 1 where whoever has our name has to go
-- Returns 1 where our lease was not over, 0 where it was, and -1 where another has our name, who stays.
local lease = redis.call('GET', KEYS[1])
local ours = lease and lease:sub(1, #ARGV[1]) == ARGV[1]
if lease and not ours and ARGV[5] ~= '1' then
    return -1
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[4], 'PX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[2])
return ours and 1 or 0
