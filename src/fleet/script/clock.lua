-- Begins the scripts that go by the server's clock, whose times are milliseconds.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
-- Lua writes large numbers as 1.7e+12.
local function text(number) return string.format('%.0f', number) end

