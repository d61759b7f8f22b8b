-- Proves that this slot can be written to, and that its channel reaches us.
redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
redis.call('SPUBLISH', ARGV[2], 'p')
return redis.status_reply('OK')
