-- read: what is there, without a lease. A script, because only the store's own clock tells how old it is.
-- KEYS 1 the identity
local f, n = fields('g', 'v', 'e', 'at', 'k')
if not f.v or n('e') <= now then return false end
return {n('g'), f.v, math.max(0, now - n('at')), n('e') - now, n('k')}
