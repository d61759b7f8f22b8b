-- Reads and changes a room, KEYS[1]: its members, and the events that not every member has
-- yet. Each change has a version. WHAT is "read", "join", "remove" or "delivered". Each of them
-- restarts the expiry of the room, after keep milliseconds. The servers encrypt names; the
-- tag of a member's id and the token of its membership identify it.
local WHAT, keep = ARGV[1], ARGV[2]
local MOST_EVENTS = 256 -- a member that is further behind gets a list of all members instead

local raw = call('GET', KEYS[1])
-- The versions of a new room start at the current time, so that they are above those that an
-- inbox remembers of an earlier room with this name.
local r = {version = now, name = '', members = {}, events = {}}
if raw then
  local ok, unpacked = pcall(cmsgpack.unpack, raw)
  if not ok or type(unpacked) ~= 'table' or type(unpacked.members) ~= 'table' or type(unpacked.events) ~= 'table' then
    spoil(KEYS[1])
  end
  r = unpacked
end

-- A different history means that a replica has taken over or Redis has restarted, and the
-- latest versions may be lost. They must not be used again, since inboxes would take such
-- events for repetitions. Every member gets a list of all members instead.
local h = history()
local renewed = r.history ~= h and #r.members > 0
if renewed then
  r.version, r.events = math.max(now, r.version + 2 ^ 20), {}
  for _, m in ipairs(r.members) do m.behind = 1 end
end
r.history = h

local function note(kind, id)
  r.version = r.version + 1
  table.insert(r.events, {r.version, kind, id})
  if #r.events > MOST_EVENTS then table.remove(r.events, 1) end
end

local function remove(i, kind)
  note(kind, table.remove(r.members, i).id)
end

local code = OK
if WHAT == 'join' then
  local tag, token, id, name, most = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
  local there = false
  for i = #r.members, 1, -1 do
    local m = r.members[i]
    if m.token == token then
      there = true
    elseif m.tag == tag then -- of an earlier life of the same inbox
      remove(i, 'expired')
    end
  end
  if not there and #r.members >= most then
    code = ROOM_FULL
  elseif not there then
    if #r.members == 0 then r.name = name end
    note('joined', id)
    table.insert(r.members, {tag = tag, token = token, id = id, joined = r.version, behind = 0})
  end
elseif WHAT == 'remove' then
  local kind = ARGV[3]
  for i = #r.members, 1, -1 do
    for j = 4, #ARGV - 1 do
      if r.members[i].token == ARGV[j] then
        remove(i, kind)
        break
      end
    end
  end
elseif WHAT == 'delivered' then
  local version, behind = tonumber(ARGV[3]), {}
  for j = 4, #ARGV - 1 do behind[ARGV[j]] = true end
  while r.events[1] and r.events[1][1] <= version do table.remove(r.events, 1) end
  for _, m in ipairs(r.members) do m.behind = behind[m.token] and 1 or 0 end
end

if renewed or WHAT ~= 'read' and code == OK then
  if #r.members == 0 then
    if raw then call('UNLINK', KEYS[1]) end
  else
    call('SET', KEYS[1], cmsgpack.pack(r), 'PX', keep)
  end
elseif WHAT == 'read' and raw then
  call('PEXPIRE', KEYS[1], keep)
end
local members, events = {}, {}
for _, m in ipairs(r.members) do
  table.insert(members, m.token)
  table.insert(members, m.id)
  table.insert(members, m.joined)
  table.insert(members, m.behind)
end
for _, e in ipairs(r.events) do
  for i = 1, 3 do table.insert(events, e[i]) end
end
return {code, r.version, r.name, members, events}
