-- Tests that this slot is writable and that its channel reaches this server. Returns the
-- time in microseconds. With FIGURES it also returns the primary's replication id, its
-- used memory and its maximum memory in bytes.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
redis.call('SET', KEYS[1], '1', 'PX', 60000)
redis.call('SPUBLISH', ARGV[1], 'p')
local FIGURES = ARGV[2] == '1'
if not FIGURES then return {now} end
local history = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)'), 1, 8)
local memory = redis.call('INFO', 'memory')
return {now, history, string.match(memory, 'used_memory:(%d+)') or '0', string.match(memory, 'maxmemory:(%d+)') or '0'}
