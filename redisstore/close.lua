-- Closes an inbox, unless LIFE names another life. A repeated request is recognized even
-- if the next life has begun.
local secret, address, every, burst = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local request, ttl, server, channel, life = ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9]

local b = load()
if not alive(b, now) or b.closer == request then return {OK, ''} end
local code, new = admit(b, secret, address, every, burst, life)
if code ~= OK then return {code} end
-- The earlier life belongs to the same inbox; see renew.
if life ~= '' and life ~= b.life and life ~= b.earlier then
  if new then save(b, ttl) end
  return {OK, ''}
end
local number = ''
if b.receiver ~= NOBODY then
  number = notify('c', b.receiver, server, channel)
  add_ended(b, 'c')
end
local rooms = b.events and call('HGETALL', KEYS[6]) or {}
call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
b.closed, b.closer, b.expires = 1, request, now
save(b, ttl)
return {OK, number, rooms}
