-- Functions that all scripts share. Go prepends this file to each of them.
--
-- KEYS[1]  the inbox: a string with the record described below
-- KEYS[2]  its messages: a list, oldest first, which does not exist when empty
-- KEYS[3]  the idempotency keys it remembers: a sorted set by arrival
-- KEYS[4]  the ids of the latest requests that appended to it: a string of 8 bytes each
-- KEYS[5]  when the bucket of wrong secrets will be full again, in microseconds; it expires then
-- KEYS[6]  its memberships of rooms: a hash, see member.lua
--
-- All six are in the same slot. Only the first is authoritative: opening an inbox deletes
-- whatever is left of the others.

local OK, UNAUTHORIZED, NO_INBOX, FULL, BAD_CURSOR, REPLACED, CLOSED, REPLAYED, LATE, RATE_LIMITED, SHARE = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local GONE, GAP, BEHIND, TOO_MANY, ROOM_FULL = 11, 12, 13, 14, 15

-- The fields of the record: secret; life; history, the replication id under which the
-- life was last written to; the earlier life and its last number, if the history has
-- changed; last number, and number of the first message held; total bytes ever received,
-- and those before the first message held; expiry in microseconds; time since when this
-- record exists, across lives; receiver (8 bytes of its server, 8 of its number); the
-- request that closed the inbox; number of keys remembered; whether the inbox is closed;
-- whether the receiver waits for a wake.
local FORMAT = '>c32c8c8c8I8I8I8I8I8I8I8c16c8I4BB'
local SIZE = 142
local MOST_ENDED = 6 * 17
local NOBODY = string.rep('\0', 16)
local SECOND = 1000000

-- spoil removes an inbox because another program has written to one of its keys, which
-- would make every later request fail. KEYS[3] to KEYS[6] can be removed alone. Go warns
-- the operator and retries the script. Nothing must have been written before.
local function spoil(key)
  if key == KEYS[3] or key == KEYS[4] or key == KEYS[5] or key == KEYS[6] then
    redis.call('UNLINK', key)
  else
    redis.call('UNLINK', unpack(KEYS))
  end
  error({err = 'INBOXSPOILED another program has written to the keys of an inbox'})
end

local function call(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    if string.find(answer.err, 'WRONGTYPE', 1, true) then spoil(key) end
    error(answer)
  end
  return answer
end

local t = redis.call('TIME')
local now = t[1] * SECOND + t[2]

-- The last argument is the time at which the client's request fails. A script that a slow
-- network or a stalled Redis has delayed beyond it does nothing: the client has given up,
-- and may wait elsewhere.
if now > tonumber(ARGV[#ARGV]) then return {LATE, now} end

-- valid reports whether save can have written the record.
local function valid(b, size)
  local ended = size - SIZE
  return ended % 17 == 0 and ended <= 8 * 17 and b.closed <= 1 and b.armed <= 1
    and b.first >= 1 and b.last >= b.first - 1 and b.sum >= b.base
    and b.last < 2 ^ 53 and b.sum < 2 ^ 53 and b.known < 2 ^ 53
    and b.expires < now + 800 * 86400 * SECOND
end

-- cut removes the entry of the given kind from the end of the record and returns it.
local function cut(b, kind)
  for i = 1, #b.ended, 17 do
    if string.sub(b.ended, i, i) == kind then
      local entry = string.sub(b.ended, i + 1, i + 16)
      b.ended = string.sub(b.ended, 1, i - 1) .. string.sub(b.ended, i + 17)
      return entry
    end
  end
end

local function load()
  local raw = call('GET', KEYS[1])
  if not raw then return nil end
  if #raw < SIZE then spoil() end
  local b = {}
  b.secret, b.life, b.history, b.earlier, b.known, b.last, b.first, b.sum, b.base, b.expires, b.since,
    b.receiver, b.closer, b.keys, b.closed, b.armed = struct.unpack(FORMAT, raw)
  b.ended = string.sub(raw, SIZE + 1)
  if not valid(b, #raw) then spoil() end
  -- The owner's addresses, as four tags of 4 bytes. The sender of the last message, as a
  -- tag of 8 bytes, and the number of the first message of its current run. They are
  -- stored among the ended receivers, where servers of version 0.1 leave them alone.
  b.addresses = cut(b, 'a')
  -- In a room: how many messages are events, and the bytes of their bodies.
  local events = cut(b, 'n')
  if events then
    b.events, b.event_bytes = struct.unpack('>I8I8', events)
    -- An older server acknowledges events without counting them.
    b.events, b.event_bytes = math.min(b.events, b.last - b.first + 1), math.min(b.event_bytes, b.sum - b.base)
  end
  local sender = cut(b, 's')
  if sender then b.sender, b.run = struct.unpack('>c8I8', sender) end
  b.ended = string.sub(b.ended, -MOST_ENDED)
  return b
end

-- save keeps the record for some time after the inbox ends, so that its receivers still
-- get the reason.
local function save(b, keep)
  local more = b.addresses and 'a' .. b.addresses or ''
  if b.sender then more = more .. 's' .. struct.pack('>c8I8', b.sender, b.run) end
  local ended = b.ended
  if b.events then
    more = more .. 'n' .. struct.pack('>I8I8', b.events, b.event_bytes)
    ended = string.sub(ended, -(MOST_ENDED - 17)) -- older servers accept no longer record
  end
  call('SET', KEYS[1], struct.pack(FORMAT, b.secret, b.life, b.history, b.earlier, b.known,
    b.last, b.first, b.sum, b.base, b.expires, b.since, b.receiver, b.closer, b.keys, b.closed, b.armed) .. more .. ended,
    'PXAT', string.format('%.0f', math.ceil((b.expires + keep) / 1000)))
end

-- expire_with makes a key expire shortly after the inbox it belongs to.
local function expire_with(b, key)
  call('PEXPIREAT', key, string.format('%.0f', math.ceil((b.expires + SECOND) / 1000)))
end

local function alive(b, now)
  return b ~= nil and b.closed == 0 and now < b.expires
end

-- history returns the replication id. It changes when a replica takes over and when a
-- server starts. The last writes may then have been lost, and numbers would be issued
-- again.
local function history()
  return string.sub(string.match(call('INFO', 'replication'), 'master_replid:(%x+)'), 1, 8)
end

-- renew begins another life if the history has changed. It keeps the messages and the
-- numbering: up to known, an earlier cursor still acknowledges the same messages. The
-- record may have lost the latest of the receivers that attached before.
local function renew(b, life, now)
  local h = history()
  if h == b.history then return false end
  b.earlier, b.known, b.life, b.history, b.since = b.life, b.last, life, h, now
  return true
end

-- add_ended adds the receiver to the ended ones, with the reason: 17 bytes each, the last
-- 6.
local function add_ended(b, why)
  if b.receiver ~= NOBODY then
    b.ended = string.sub(b.ended .. why .. b.receiver, -MOST_ENDED)
    b.receiver = NOBODY
  end
end

local function find_ended(b, receiver)
  for i = 1, #b.ended, 17 do
    if string.sub(b.ended, i + 1, i + 16) == receiver then return i, string.sub(b.ended, i, i) end
  end
end

-- notify wakes or ends a receiver. If the receiver is at the same server, it returns its
-- number for the caller to act on. Otherwise it publishes to the receiver's server.
local function notify(what, receiver, server, channel)
  local to, number = string.sub(receiver, 1, 8), string.sub(receiver, 9)
  if to == server then return number end
  call('SPUBLISH', channel .. to, what .. number)
  return ''
end

-- remember records the tag of an address that has presented the right secret.
local function remember(b, address)
  b.addresses = string.sub(address, 1, 4) .. string.sub(b.addresses or string.rep('\0', 16), 1, 12)
end

-- refilled returns when the bucket of wrong secrets will be full after one more. It
-- ignores stored values that our servers cannot have written.
local function refilled(every, burst)
  local full = tonumber(call('GET', KEYS[5]) or '')
  if not full or not (full > now and full <= now + every * burst) then full = now end
  return full + every
end

-- admit compares the secret of a peer. address is the tag of its address, empty if it is
-- unknown; a plus sign follows the tag of a peer that was admitted before. In both cases
-- a wrong secret does not count as a guess. Otherwise burst wrong secrets can be tried in
-- a row, and then one per interval of every microseconds. Beyond that the result does not
-- depend on the secret, except for an address that has presented the right one, and for a
-- peer that names a cursor of this LIFE, which only the owner has seen. The second result
-- reports whether the address is new.
local function admit(b, secret, address, every, burst, life)
  local guesses = #address == 4
  local known = not guesses
  for i = 1, b.addresses and not known and 16 or 0, 4 do
    known = known or string.sub(b.addresses, i, i + 3) == address
  end
  if not known and life ~= b.life and every > 0 and refilled(every, burst) > now + every * burst then return RATE_LIMITED end
  if b.secret == secret then
    if not known then remember(b, address) end
    return OK, not known
  end
  if guesses and every > 0 then
    local full = math.min(refilled(every, burst), now + every * burst)
    call('SET', KEYS[5], string.format('%.0f', full), 'PXAT', string.format('%.0f', math.ceil(full / 1000)))
  end
  return UNAUTHORIZED
end

-- is_event reports whether an entry of KEYS[2] is from the server: its sender has no id.
local function is_event(entry)
  return string.sub(entry, 17, 18) == '\0\0'
end

-- only_events_before reports whether all messages before that number are events.
local function only_events_before(b, number)
  local n = number - b.first
  if n <= 0 then return true end
  if n > (b.events or 0) then return false end
  for _, entry in ipairs(call('LRANGE', KEYS[2], 0, n - 1)) do
    if not is_event(entry) then return false end
  end
  return true
end

-- open_inbox returns the record of a new life. b is the record of an earlier life, or
-- nil.
local function open_inbox(b, secret, address, life, ttl, now)
  call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
  if b and b.closed == 0 then add_ended(b, 'e') end
  local opened = {
    secret = secret, life = life, history = history(), earlier = string.rep('\0', 8), known = 0,
    last = 0, first = 1, sum = 0, base = 0, expires = now + ttl, since = b and b.since or now,
    receiver = NOBODY, closer = b and b.closer or string.rep('\0', 8), keys = 0, closed = 0, armed = 0,
    ended = b and b.ended or '',
  }
  if address ~= '' then remember(opened, address) end
  return opened
end
