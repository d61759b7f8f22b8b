-- What every script knows of an inbox. Go puts this in front of each.
--
-- KEYS[1] is the inbox, a string of what is packed below: one read, one write.
-- KEYS[2] its messages, a list, oldest first, that is not there when empty.
-- KEYS[3] the idempotency keys it remembers, a sorted set by arrival.
-- KEYS[4] the latest requests that appended to it, a string of 8 bytes each.
-- All four are in one slot, and only the first is the truth: whatever else is
-- left of an earlier life is deleted when a new one begins.

local OK, UNAUTHORIZED, NO_INBOX, FULL, BAD_CURSOR, REPLACED, CLOSED, REPLAYED, LATE = 0, 1, 2, 3, 4, 5, 6, 7, 8

-- Secret; life; history, in which the life was last written to; the earlier life
-- and its last number, when the history changed; last and first number held;
-- bytes that came ever, and before the first held; expiry in microseconds; since
-- when there is this record, over however many lives; the receiver (8 bytes of its server, 8 of its number); who closed; keys
-- remembered; whether it is closed; whether the receiver waits for a wake.
local FORMAT = '>c32c8c8c8I8I8I8I8I8I8I8c16c8I4BB'
local SIZE = 142
local NOBODY = string.rep('\0', 16)
local SECOND = 1000000

-- spoil gives up the inbox: another program has written to one of its keys, and what is
-- left would make every request fail. Without KEYS[3] and KEYS[4] an inbox goes on. Go
-- tells the operator and runs the script again. Nothing was written before.
local function spoil(key)
  if key == KEYS[3] or key == KEYS[4] then
    redis.call('UNLINK', key)
  else
    redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
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

-- The last argument is when whoever asks is told that the store is unavailable.
-- What a network, or a Redis that stood still, kept back for longer does nothing:
-- its peer has gone on, and may wait elsewhere.
if now > tonumber(ARGV[#ARGV]) then return {LATE, now} end

-- sound tells what save has packed from other bytes.
local function sound(b, size)
  local ended = size - SIZE
  return ended % 17 == 0 and ended <= 8 * 17 and b.closed <= 1 and b.armed <= 1
    and b.first >= 1 and b.last >= b.first - 1 and b.sum >= b.base
    and b.last < 2 ^ 53 and b.sum < 2 ^ 53 and b.known < 2 ^ 53
    and b.expires < now + 800 * 86400 * SECOND
end

local function load()
  local raw = call('GET', KEYS[1])
  if not raw then return nil end
  if #raw < SIZE then spoil() end
  local b = {}
  b.secret, b.life, b.history, b.earlier, b.known, b.last, b.first, b.sum, b.base, b.expires, b.since,
    b.receiver, b.closer, b.keys, b.closed, b.armed = struct.unpack(FORMAT, raw)
  b.ended = string.sub(raw, SIZE + 1)
  if not sound(b, #raw) then spoil() end
  return b
end

-- save keeps the inbox for a while after its end, for those of its receivers
-- who have yet to learn of it.
local function save(b, keep)
  call('SET', KEYS[1], struct.pack(FORMAT, b.secret, b.life, b.history, b.earlier, b.known,
    b.last, b.first, b.sum, b.base, b.expires, b.since, b.receiver, b.closer, b.keys, b.closed, b.armed) .. b.ended,
    'PXAT', string.format('%.0f', math.ceil((b.expires + keep) / 1000)))
end

-- last_with lets a key live a little longer than the inbox it belongs to.
local function last_with(b, key)
  call('PEXPIREAT', key, string.format('%.0f', math.ceil((b.expires + SECOND) / 1000)))
end

local function alive(b, now)
  return b ~= nil and b.closed == 0 and now < b.expires
end

-- history names the sequence of writes that this server holds. It changes when
-- a replica takes over and when a server starts, which is when the last writes
-- may have been lost and numbers that were given out would be given out again.
local function history()
  return string.sub(string.match(call('INFO', 'replication'), 'master_replid:(%x+)'), 1, 8)
end

-- renew begins another life if the history has changed. Messages and numbers
-- go on: what an earlier cursor acknowledges up to known is still what it meant.
-- Of receivers that came before, the record may have lost the last.
local function renew(b, life, now)
  local h = history()
  if h == b.history then return false end
  b.earlier, b.known, b.life, b.history, b.since = b.life, b.last, life, h, now
  return true
end

-- ended receivers are remembered with the reason, 17 bytes each, the last 8.
local function add_ended(b, why)
  if b.receiver ~= NOBODY then
    b.ended = string.sub(b.ended .. why .. b.receiver, -8 * 17)
    b.receiver = NOBODY
  end
end

local function find_ended(b, receiver)
  for i = 1, #b.ended, 17 do
    if string.sub(b.ended, i + 1, i + 16) == receiver then return i, string.sub(b.ended, i, i) end
  end
end

-- tell has a receiver woken: by the caller, whom the number is returned to, if
-- it is of the same server, else through the channel of its own.
local function tell(what, receiver, server, channel)
  local to, number = string.sub(receiver, 1, 8), string.sub(receiver, 9)
  if to == server then return number end
  call('SPUBLISH', channel .. to, what .. number)
  return ''
end

-- begin opens the inbox, whose record b is of an earlier life, if there is one.
local function begin(b, secret, life, ttl, now)
  call('DEL', KEYS[2], KEYS[3], KEYS[4])
  if b and b.closed == 0 then add_ended(b, 'e') end
  return {
    secret = secret, life = life, history = history(), earlier = string.rep('\0', 8), known = 0,
    last = 0, first = 1, sum = 0, base = 0, expires = now + ttl, since = b and b.since or now,
    receiver = NOBODY, closer = b and b.closer or string.rep('\0', 8), keys = 0, closed = 0, armed = 0,
    ended = b and b.ended or '',
  }
end
