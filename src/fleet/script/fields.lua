-- Fields of an identity's hash: as they are, and a function that reads them as numbers.
-- Numbers are doubles, of which 2^53 and the next are one. What no script has written counts as nothing; that is NaN, too.
local largest = 9007199254740990
local function fields(...)
  local f = {}
  for i, value in ipairs(redis.call('HMGET', KEYS[1], ...)) do f[(select(i, ...))] = value end
  return f, function(name)
    local number = tonumber(f[name] or 0) or 0
    return number >= 0 and number <= largest and math.floor(number) or 0
  end
end

