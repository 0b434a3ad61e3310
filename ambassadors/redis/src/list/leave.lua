-- What we hold may be taken over at once.
--
-- KEYS: our lease, our own list, the consumers
-- ARGV: our token, who we are
local lease = redis.call('GET', KEYS[1])
if lease and lease:sub(1, #ARGV[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
    if redis.call('EXISTS', KEYS[2]) == 0 then
        redis.call('SREM', KEYS[3], ARGV[2])
    end
end
return 1
