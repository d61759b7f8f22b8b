-- Authenticates the owner of an inbox, which is made if there is none.
local secret, life, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])

local b, now = load(), clock()
if alive(b, now) then
  return b.secret == secret and OK or UNAUTHORIZED
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
local ended = ''
if b then
  if b.closed == 0 then add_ended(b, 'e') end
  ended = b.ended
end
save({
  secret = secret, life = life, history = history(), earlier = string.rep('\0', 8), known = 0,
  last = 0, first = 1, sum = 0, base = 0, expires = now + ttl, since = b and b.since or now,
  receiver = NOBODY, closer = b and b.closer or string.rep('\0', 8), keys = 0, closed = 0, armed = 0, ended = ended,
}, ttl)
return OK
