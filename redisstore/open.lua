-- Authenticates the owner of an inbox. Opens the inbox if it does not exist and OPENS is
-- set.
local secret, address, every, burst = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local life, ttl, OPENS = ARGV[5], tonumber(ARGV[6]), ARGV[7] == '1'

local b = load()
if alive(b, now) then
  local code, new = admit(b, secret, address, every, burst, '')
  if new then save(b, ttl) end
  return code
end
if not OPENS then return NO_INBOX end
save(open_inbox(b, secret, address, life, ttl, now), ttl)
return OK
