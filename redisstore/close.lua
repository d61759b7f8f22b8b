-- Ends the life of an inbox now. A request that comes again is known, also when
-- the next life has begun.
local secret, request, ttl, server, channel = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

local b = load()
if not alive(b, now) or b.closer == request then return {OK, ''} end
if b.secret ~= secret then return {UNAUTHORIZED} end
local told = ''
if b.receiver ~= NOBODY then
  told = tell('c', b.receiver, server, channel)
  add_ended(b, 'c')
end
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
b.closed, b.closer, b.expires = 1, request, now
save(b, ttl)
return {OK, told}
