-- Strikes off the group who took of it under a name of our making and is gone: nobody takes under that name again, and it would stand
-- there for ever. Nothing is pending for them, since that would go with them and be nobody's.
--
-- KEYS: the stream
-- ARGV: the group, who we are, after how many milliseconds without a word somebody is gone
-- Returns how many.
local consumers = redis.call('EXISTS', KEYS[1]) == 1 and redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1]) or {}
local made, struck = '^longshore%-.*%-' .. ('%x'):rep(16) .. '$', 0
for _, words in ipairs(consumers) do
    local consumer = {}
    for n = 1, #words, 2 do
        consumer[words[n]] = words[n + 1]
    end
    local gone = consumer['pending'] == 0 and consumer['idle'] > tonumber(ARGV[3])
    if gone and consumer['name'] ~= ARGV[2] and consumer['name']:find(made) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer['name'])
        struck = struck + 1
    end
end
return struck
