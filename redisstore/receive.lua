-- Acknowledges messages and restarts the expiry. WHAT is the mode: look also attaches the
-- receiver and reads messages; acknowledge does neither; leave detaches the receiver, and
-- does nothing if it is not attached.
--
-- There are two versions of this script: one that also runs when memory is short and
-- opens no inbox, and one that OPENS it.
local secret, address, every, burst = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local after_life, after = ARGV[5], tonumber(ARGV[6])
local limit, receiver, looked = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local life, ttl, server, channel, WHAT = ARGV[10], tonumber(ARGV[11]), ARGV[12], ARGV[13], ARGV[14]
local measured = ARGV[15] == '1'

local b = load()
local lives = alive(b, now)
if WHAT == 'leave' and (not lives or b.receiver ~= receiver) then return {OK} end
-- A receiver that looked before (looked microseconds ago) but is no longer attached was
-- replaced, or its inbox was closed. Or the inbox expired: then the receiver may take
-- part in the next life, even if that was so long ago that the record is gone.
if looked and b and b.receiver ~= receiver and b.since < now - looked then
  local _, why = find_ended(b, receiver)
  if not why and not renew(b, life, now) then return {REPLACED} end
  if why == 'c' then return {CLOSED} end
end
local new = false
if not lives then
  if not OPENS then return {NO_INBOX} end
  b = open_inbox(b, secret, address, life, ttl, now)
else
  local code
  code, new = admit(b, secret, address, every, burst, after_life)
  if code ~= OK then return {code} end
end

-- The ages of the acknowledged messages, 8 bytes each. Only the oldest 128 are measured,
-- so that a client cannot make this slow.
local reset, ages = false, {}
local function acknowledge(upto)
  if upto < b.first then return end
  if measured then
    for i, entry in ipairs(call('LRANGE', KEYS[2], 0, math.min(upto, b.last, b.first + 127) - b.first)) do
      if #entry < 16 then spoil() end
      ages[i] = struct.pack('>I8', math.max(0, now - struct.unpack('>I8', entry, 9)))
    end
  end
  if (b.events or 0) > 0 then
    for _, entry in ipairs(call('LRANGE', KEYS[2], 0, string.format('%.0f', math.min(upto, b.last) - b.first))) do
      if is_event(entry) then b.events, b.event_bytes = b.events - 1, b.event_bytes - (#entry - 18) end
    end
    -- An older server may have lost the counts, so that they began again at 0.
    b.events, b.event_bytes = math.max(0, b.events), math.max(0, b.event_bytes)
  end
  if upto >= b.last then
    b.first, b.base = b.last + 1, b.sum
    if b.events then b.events, b.event_bytes = 0, 0 end -- also if an older server did not count
    call('UNLINK', KEYS[2])
  else
    call('LTRIM', KEYS[2], string.format('%.0f', upto + 1 - b.first), -1)
    b.first = upto + 1
    b.base = nil
  end
end
if after_life == b.life and after > b.last then
  -- Either the cursor was never issued, or a Redis issued it that has been lost with its
  -- last writes.
  if not renew(b, life, now) then
    if new then save(b, ttl) end
    return {BAD_CURSOR}
  end
end
if after_life == b.life then
  acknowledge(after)
elseif after_life == b.earlier then
  reset = true
  acknowledge(math.min(after, b.known))
elseif after_life ~= '' then
  reset = true
end

local replaced = ''
if WHAT == 'leave' then
  b.receiver, b.armed = NOBODY, 0
elseif WHAT == 'look' and receiver ~= '' then
  if b.receiver ~= receiver then
    local i = find_ended(b, receiver)
    if i then b.ended = string.sub(b.ended, 1, i - 1) .. string.sub(b.ended, i + 17) end
    if b.receiver ~= NOBODY then replaced = notify('r', b.receiver, server, channel) end
    b.receiver = receiver
  end
  b.armed = 1
end

local found, held = {}, b.last - b.first + 1
if held > 0 then
  if call('LLEN', KEYS[2]) ~= held then spoil() end
  if limit > 0 then found = call('LRANGE', KEYS[2], 0, limit - 1) end
  if not b.base then
    local oldest = found[1] or call('LINDEX', KEYS[2], 0)
    if #oldest < 18 then spoil() end
    b.base = struct.unpack('>I8', oldest)
    if b.base > b.sum then spoil() end
  end
end
for _, entry in ipairs(found) do
  local high, low = string.byte(entry, 17, 18) -- length of the sender's id
  if not low or #entry < 18 + 256 * high + low then spoil() end
end
b.expires = now + ttl
if held > 0 then expire_with(b, KEYS[2]) end
if b.keys > 0 then expire_with(b, KEYS[3]) end
if b.events then expire_with(b, KEYS[6]) end
save(b, ttl)
return {OK, b.life, b.last - held + #found, reset and 1 or 0, replaced, found, table.concat(ages)}
