-- Keeps the rooms of all servers by the time at which one of them has to look for members
-- that have expired: KEYS[1], a sorted set. WHAT is "set" (the room was looked at just now),
-- "claim" (return rooms that are due, for this server to look at) or "forget" (the room was
-- empty when it was claimed).
local WHAT, interval = ARGV[1], tonumber(ARGV[2])
local later = string.format('%.0f', now + interval)
if WHAT == 'set' then
  call('ZADD', KEYS[1], later, ARGV[3])
elseif WHAT == 'forget' then
  if call('ZSCORE', KEYS[1], ARGV[3]) == ARGV[4] then call('ZREM', KEYS[1], ARGV[3]) end
else
  local due = call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 32)
  for _, room in ipairs(due) do call('ZADD', KEYS[1], later, room) end
  return {OK, later, due}
end
return {OK}
