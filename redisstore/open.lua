-- Authenticates the owner of an inbox, which is opened if there is none.
local secret, life, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])

local b = load()
if alive(b, now) then
  return b.secret == secret and OK or UNAUTHORIZED
end
save(begin(b, secret, life, ttl, now), ttl)
return OK
