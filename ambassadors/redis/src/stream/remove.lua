-- Entries are settled, whoever holds them by now, and leave the stream.
--
-- KEYS: the stream
-- ARGV: the group, ids
-- Returns how many somebody held.
local found = 0
for n = 2, #ARGV do
    if redis.call('XACK', KEYS[1], ARGV[1], ARGV[n]) == 1 then
        redis.call('XDEL', KEYS[1], ARGV[n])
        found = found + 1
    end
end
return found
