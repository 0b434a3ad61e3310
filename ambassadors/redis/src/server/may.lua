-- What finds out before anything is taken whether it may be.
local none, refusal = ARGV[1], nil
-- What servers before Redis 7 say where it may be, of what is not there or makes no sense: nothing comes of it.
local futile = { 'no such key', 'NOGROUP', 'requires the key to exist', 'Invalid stream ID', 'greater than 0-0' }

local function is_futile(why)
    for _, part in ipairs(futile) do
        if why:find(part, 1, true) then
            return true
        end
    end
end

-- Whether this may be done, which is of no effect. Servers before Redis 7 have to try. What is refused is said by its name.
local function may(...)
    if refusal then
        return
    end
    local command = ...
    if redis.acl_check_cmd then
        refusal = not redis.acl_check_cmd(...) and { err = 'NOPERM ' .. command .. ' is no right of this user, or not here' } or nil
        return
    end
    local said = redis.pcall(...)
    local why = type(said) == 'table' and said.err
    if why and why:find('executing the script', 1, true) then
        refusal = { err = 'NOPERM ' .. command .. ': ' .. why }
    elseif why and not is_futile(why) then
        refusal = said
    end
end
