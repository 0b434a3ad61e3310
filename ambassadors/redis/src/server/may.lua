-- What tries before anything is taken whether it may be.
local none, refusal = ARGV[1], nil
-- What is answered where it may be done, of what is not there or makes no sense: nothing comes of it.
local futile = { 'no such key', 'NOGROUP', 'requires the key to exist', 'Invalid stream ID', 'greater than 0-0' }
-- What servers say of a right that is missing: those since Redis 7.2, and those before.
local denials = { 'NOPERM', 'executing the script' }

local function says(text, any)
    for _, part in ipairs(any) do
        if text:find(part, 1, true) then
            return true
        end
    end
end

-- Does this, unless something was refused before. Of a right that is missing it is said which one it is, as not every server does.
local function may(...)
    local said, command = not refusal and redis.pcall(...), ...
    local why = type(said) == 'table' and said.err
    if why and says(why, denials) then
        refusal = { err = 'NOPERM ' .. command .. ': ' .. why }
    elseif why and not says(why, futile) then
        refusal = said
    end
    return said
end
