-- Proves that this slot can be written to, and that its channel reaches us. Tells
-- the time.
call('SET', KEYS[1], '1', 'PX', 60000)
call('SPUBLISH', ARGV[1], 'p')
return {OK, now}
