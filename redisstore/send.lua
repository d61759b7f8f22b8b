-- Appends a message and wakes the receiver. A repeated request is recognized.
local request, again, key, content = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]
local size, messages, bytes, remembered = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local life, ttl, server, channel = ARGV[9], tonumber(ARGV[10]), ARGV[11], ARGV[12]
local sender, alone_messages, alone_bytes = ARGV[13], tonumber(ARGV[14]), tonumber(ARGV[15])

local b = load()
if not alive(b, now) then return {NO_INBOX} end
call('STRLEN', KEYS[4]) -- fails before anything is written if the key has another type
if again then
  local requests = call('GET', KEYS[4]) or ''
  for i = 1, #requests, 8 do
    if string.sub(requests, i, i + 7) == request then
      -- The reply was lost, and the wake may have been lost with it.
      save(b, ttl) -- a write, so that WAIT covers it
      return {OK, b.receiver ~= NOBODY and notify('w', b.receiver, server, channel) or ''}
    end
  end
end
if key ~= '' and call('ZSCORE', KEYS[3], key) then
  save(b, ttl) -- as above
  return {REPLAYED}
end
local events = b.events or 0
local held, bytes_then = b.last - b.first + 1 - events, b.sum - b.base + size - (b.event_bytes or 0)
if held >= messages or bytes_then > bytes then return {FULL} end
if b.sender ~= sender then b.sender, b.run = sender, b.last + 1 end
local alone = held > 0 and only_events_before(b, b.run)
if alone and (held >= alone_messages or bytes_then > alone_bytes) then return {SHARE} end

renew(b, life, now)
b.last = b.last + 1
if call('RPUSH', KEYS[2], struct.pack('>I8I8', b.sum, now) .. content) ~= b.last - b.first + 1 then spoil() end
if b.first == b.last then expire_with(b, KEYS[2]) end
b.sum = b.sum + size
if key ~= '' then
  call('ZADD', KEYS[3], string.format('%.0f', b.last), key)
  b.keys = call('ZCARD', KEYS[3])
  if b.keys == 1 then expire_with(b, KEYS[3]) end
  if b.keys > remembered then
    b.keys = remembered
    call('ZREMRANGEBYRANK', KEYS[3], 0, 0)
  end
end
if call('APPEND', KEYS[4], request) >= 16384 then
  call('SET', KEYS[4], call('GETRANGE', KEYS[4], -8192, -1))
end
call('PEXPIRE', KEYS[4], 10000) -- longer than any request is repeated

local woken = ''
if b.armed == 1 and b.receiver ~= NOBODY then
  b.armed = 0 -- further wakes are pointless until it has looked
  woken = notify('w', b.receiver, server, channel)
end
save(b, ttl)
return {OK, woken}
