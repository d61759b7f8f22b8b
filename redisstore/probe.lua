-- Proves that this slot can be written to, and that its channel reaches us. Tells
-- the time. If asked for FIGURES, it also tells the history of this server's writes, and the
-- memory that it uses and may use.
call('SET', KEYS[1], '1', 'PX', 60000)
call('SPUBLISH', ARGV[1], 'p')
local FIGURES = ARGV[2] == '1'
if not FIGURES then return {OK, now} end
local memory = call('INFO', 'memory')
return {OK, now, history(), string.match(memory, 'used_memory:(%d+)') or '0', string.match(memory, 'maxmemory:(%d+)') or '0'}
