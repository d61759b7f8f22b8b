-- Appends a room's events to a member's inbox, and wakes the receiver. The inbox keeps
-- the version of its last event, so a repeated event appends nothing. With CATCHUP, the only
-- event lists all members and replaces the dropped ones.
local room, token, joined, first = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local most, CATCHUP = tonumber(ARGV[5]), ARGV[6] == '1'
local life, ttl, server, channel = ARGV[7], tonumber(ARGV[8]), ARGV[9], ARGV[10]
-- The events follow, each with its version and content. The last argument is the deadline.

local b = load()
if not alive(b, now) then return {GONE} end
local entry = call('HGET', KEYS[6], room)
if not entry or #entry ~= 16 or string.sub(entry, 1, 8) ~= token then return {GONE} end
local told = math.max(struct.unpack('>I8', entry, 9), joined)
local events, behind = b.events or 0, false
if CATCHUP then
  if events > most / 2 then return {BEHIND} end
elseif told < first - 1 then
  return {GAP}
end
local before = told
for i = 11, #ARGV - 2, 2 do
  local version, content = tonumber(ARGV[i]), ARGV[i + 1]
  if version > told then
    if events >= most then
      behind = true
      break
    end
    if told == before then renew(b, life, now) end
    b.last = b.last + 1
    if call('RPUSH', KEYS[2], struct.pack('>I8I8', b.sum, now) .. content) ~= b.last - b.first + 1 then spoil() end
    if b.first == b.last then expire_with(b, KEYS[2]) end
    b.sum = b.sum + #content - 2
    events, b.event_bytes = events + 1, (b.event_bytes or 0) + #content - 2
    told = version
  end
end
if told == before then return {behind and BEHIND or OK, ''} end
b.events = events
call('HSET', KEYS[6], room, token .. struct.pack('>I8', told))
local woken = ''
if b.armed == 1 and b.receiver ~= NOBODY then
  b.armed = 0
  woken = notify('w', b.receiver, server, channel)
end
save(b, ttl)
return {behind and BEHIND or OK, woken}
