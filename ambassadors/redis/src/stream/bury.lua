-- An entry is written to where dead letters go, whoever holds it by now; one of very many fields in parts.
--
-- KEYS: the stream, where dead letters go
-- ARGV: the group, the id, why it is dead, 1 where it is to leave the stream
-- Returns 1 where somebody held it, else 0.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1]
if not pending then
    return 0
end
-- Of words that are more than a script says at once, as many letters.
local entry, WORDS = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1], 6000
local fields = entry and entry[2] or {}
local parts = math.max(1, math.ceil(#fields / WORDS))
for part = 1, parts do
    local letter = {'XADD', KEYS[2], '*'}
    for n = (part - 1) * WORDS + 1, math.min(part * WORDS, #fields) do
        table.insert(letter, fields[n])
    end
    local why = {
        'longshore-reason', ARGV[3], 'longshore-stream', KEYS[1], 'longshore-group', ARGV[1], 'longshore-id', ARGV[2],
        'longshore-deliveries', pending[4],
    }
    for _, word in ipairs(why) do
        table.insert(letter, word)
    end
    if parts > 1 then
        table.insert(letter, 'longshore-part')
        table.insert(letter, part .. '/' .. parts)
    end
    -- First, for it may be refused.
    redis.call(unpack(letter))
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] == '1' then
    redis.call('XDEL', KEYS[1], ARGV[2])
end
return 1
