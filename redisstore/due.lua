-- Orders all rooms by the time of their next check for expired members: KEYS[1], a sorted
-- set. WHAT is "set" (a peer is about to join the room), "claim" (return due rooms, which this
-- server then checks) or "forget" (the room was empty when it was claimed). Without servers,
-- the set expires after keep milliseconds.
local WHAT, interval, keep = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local later = string.format('%.0f', now + interval)
if WHAT == 'set' then
  -- Joins must not postpone the check. They change its time slightly, so that a "forget" that
  -- began earlier does not remove the room.
  local due = tonumber(call('ZSCORE', KEYS[1], ARGV[4]) or '')
  if due and due <= now + interval then later = string.format('%.0f', due - 1) end
  call('ZADD', KEYS[1], later, ARGV[4])
elseif WHAT == 'forget' then
  if call('ZSCORE', KEYS[1], ARGV[4]) == ARGV[5] then call('ZREM', KEYS[1], ARGV[4]) end
else
  local due = call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 32)
  for _, room in ipairs(due) do call('ZADD', KEYS[1], later, room) end
  if #due > 0 then call('PEXPIRE', KEYS[1], keep) end
  return {OK, later, due}
end
call('PEXPIRE', KEYS[1], keep)
return {OK}
