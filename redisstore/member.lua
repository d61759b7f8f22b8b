-- Keeps an inbox's side of a membership: KEYS[6] maps the tag of each of its rooms to the
-- token of the membership and the version of the last event that the inbox got, 8 bytes each.
-- WHAT is "enter" (authenticate the owner and add the membership, unless it is there), "find"
-- (authenticate the owner and look it up), or "drop" (remove it).
local secret, address, every, burst = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local life, ttl, OPENS = ARGV[5], tonumber(ARGV[6]), ARGV[7] == '1'
local WHAT, room, token, most = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])

local b = load()
local lives = alive(b, now)
if WHAT == 'drop' then
  local entry = lives and call('HGET', KEYS[6], room)
  if entry and string.sub(entry, 1, 8) == token then call('HDEL', KEYS[6], room) end
  return {OK, ''}
end
if lives then
  local code, new = admit(b, secret, address, every, burst, '')
  if code ~= OK then return {code} end
  if new then save(b, ttl) end
elseif WHAT == 'find' then
  return {OK, ''}
elseif not OPENS then
  return {NO_INBOX}
else
  b = open_inbox(b, secret, address, life, ttl, now)
  save(b, ttl)
end
local entry = call('HGET', KEYS[6], room)
if not entry and WHAT == 'enter' then
  if call('HLEN', KEYS[6]) >= most then return {TOO_MANY} end
  entry = token .. string.rep('\0', 8)
  call('HSET', KEYS[6], room, entry)
  b.events, b.event_bytes = b.events or 0, b.event_bytes or 0
  save(b, ttl)
  expire_with(b, KEYS[6])
end
return {OK, entry and string.sub(entry, 1, 8) or ''}
