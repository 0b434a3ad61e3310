--
-- Reads entries behind one of them, and leaves them to others.
--
-- KEYS: the stream
-- ARGV: behind which, how many at most, how many bytes about, of how many bytes an entry is not told
-- Returns them.
local from = ARGV[1]
for _ = 1, tonumber(ARGV[2]) do
    local entry = redis.call('XRANGE', KEYS[1], '(' .. from, '+', 'COUNT', 1)[1]
    if not entry or bytes >= tonumber(ARGV[3]) then
        break
    end
    from = entry[1]
    tell(from, 1, entry[2], tonumber(ARGV[4]))
end
return told
