-- What is told of entries: an answer that is not much larger than it should be, however large they are.
local told, bytes = {}, 0

-- Tells of an entry, which was delivered so often, its fields; or how many bytes they have, where that is more than `most`.
local function tell(id, deliveries, fields, most)
    local size = 0
    for _, word in ipairs(fields) do
        size = size + #word
    end
    local large = size > most
    table.insert(told, { id, deliveries, large and size or fields })
    bytes = bytes + (large and 0 or size)
    return size
end
