--
-- Does all that taking and settling does, on keys of its own and without effect, so that a right that is missing is found; and reads
-- what would be taken first.
--
-- KEYS: the list, a list of nobody, values by id, the consumers, a lease of nobody, where dead letters go (if this is one)
-- ARGV: a text that nothing is called, LEFT or RIGHT, how many to read, how many bytes about, of how many bytes a value is not read
-- Returns whether it was tried to write a dead letter, and of each that was read a number, its length and its value.
may('LMOVE', KEYS[1], KEYS[1], 'LEFT', 'LEFT')
may('LMOVE', KEYS[2], KEYS[2], 'LEFT', 'RIGHT')
may('LSET', KEYS[2], -1, none)
may('LREM', KEYS[2], 1, none)
may('LPOS', KEYS[2], none)
may('DEL', KEYS[5])
may('SET', KEYS[5], none, 'PX', 1)
may('GET', KEYS[5])
may('EXISTS', KEYS[5])
may('DEL', KEYS[5])
may('SREM', KEYS[4], none)
may('SADD', KEYS[4], none)
may('SREM', KEYS[4], none)
may('HDEL', KEYS[3], none)
may('HSET', KEYS[3], none, none)
may('HGET', KEYS[3], none)
may('HDEL', KEYS[3], none)
may('LLEN', KEYS[1])
may('LRANGE', KEYS[1], 0, 0)
local tried = 1
if KEYS[6] and redis.acl_check_cmd then
    may('RPUSH', KEYS[6], none)
elseif KEYS[6] then
    -- Only where what is written can be taken back.
    tried = type(redis.pcall('LREM', KEYS[6], -1, none)) == 'number' and 1 or 0
    if tried == 1 then
        may('RPUSH', KEYS[6], none)
        may('LREM', KEYS[6], -1, none)
    end
end
if refusal then
    return refusal
end
-- These are what they are to be, or this ends here.
redis.call('HGET', KEYS[3], none)
redis.call('SREM', KEYS[4], none)
local read, bytes = { tried }, 0
for n = 0, tonumber(ARGV[3]) - 1 do
    local at = ARGV[2] == 'LEFT' and n or -1 - n
    local value = redis.call('LRANGE', KEYS[1], at, at)[1]
    if not value or bytes >= tonumber(ARGV[4]) then
        break
    end
    local large = #value > tonumber(ARGV[5])
    table.insert(read, tostring(n))
    table.insert(read, #value)
    table.insert(read, large and '' or value)
    bytes = bytes + (large and 0 or #value)
end
return read
