-- An entry is settled, whoever holds it by now.
--
-- KEYS: the stream, where dead letters go (if this is one)
-- ARGV: the group, the id, done or dead, 1 where it is to leave the stream, why it is dead
-- Returns 1 where somebody held it, else 0.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1]
if not pending then
    return 0
end
if ARGV[3] == 'dead' and KEYS[2] then
    local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
    local letter = {'XADD', KEYS[2], '*'}
    for _, word in ipairs(entry and entry[2] or {}) do
        table.insert(letter, word)
    end
    local why = {
        'longshore-reason', ARGV[5], 'longshore-stream', KEYS[1], 'longshore-group', ARGV[1], 'longshore-id', ARGV[2],
        'longshore-deliveries', pending[4],
    }
    for _, word in ipairs(why) do
        table.insert(letter, word)
    end
    -- First, for it may be refused.
    redis.call(unpack(letter))
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] == '1' then
    redis.call('XDEL', KEYS[1], ARGV[2])
end
return 1
