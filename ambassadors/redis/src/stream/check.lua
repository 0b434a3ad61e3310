--
-- Does all that taking and settling does, as a consumer of its own and without effect, so that a right that is missing is found.
--
-- KEYS: the stream, where dead letters go (if this is one)
-- ARGV: a consumer that nobody is, the group, which need not be there, 1 where what is settled is to leave the stream
local key, group = KEYS[1], ARGV[2]
may('EXISTS', key)
may('TIME')
may('XINFO', 'GROUPS', key)
may('XGROUP', 'CREATE', key, group, 'none')
may('XPENDING', key, group, '-', '+', 1, none)
may('XRANGE', key, '0-1', '0-1')
may('XACK', key, group, '0-1')
may('XCLAIM', key, group, none, 0, '0-1', 'JUSTID')
may('XAUTOCLAIM', key, group, none, 9007199254740991, '0-0', 'COUNT', 1, 'JUSTID')
may('XREADGROUP', 'GROUP', group, none, 'COUNT', 1, 'STREAMS', key, '0')
may('XGROUP', 'DELCONSUMER', key, group, none)
if ARGV[3] == '1' then
    may('XDEL', key, '0-1')
end
if KEYS[2] then
    may('XADD', KEYS[2], '0-0', none, none)
end
return refusal or 1
