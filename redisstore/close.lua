-- Ends the life of an inbox now, unless another LIFE was meant. A request that comes
-- again is known, also when the next life has begun.
local secret, request, ttl, server, channel, life = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]

local b = load()
if not alive(b, now) or b.closer == request then return {OK, ''} end
if b.secret ~= secret then return {UNAUTHORIZED} end
-- The earlier life is this inbox too: see renew.
if life ~= '' and life ~= b.life and life ~= b.earlier then return {OK, ''} end
local told = ''
if b.receiver ~= NOBODY then
  told = tell('c', b.receiver, server, channel)
  add_ended(b, 'c')
end
call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
b.closed, b.closer, b.expires = 1, request, now
save(b, ttl)
return {OK, told}
