-- An entry is settled, whoever holds it by now, and leaves the stream.
--
-- KEYS: the stream
-- ARGV: the group, the id
-- Returns 1 where somebody held it, else 0.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then
    return 0
end
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
