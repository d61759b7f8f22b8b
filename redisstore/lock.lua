-- Takes, renews or releases the lock KEYS[1] for the holder of the token ARGV[1]. ARGV[2]
-- is the duration in milliseconds; 0 releases the lock. Returns 1 if the caller has it,
-- or had it before it was released, else 0.
local token = redis.pcall('GET', KEYS[1])
if type(token) == 'table' then -- overwritten by another program
  redis.call('UNLINK', KEYS[1])
  token = false
end
if token and token ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('UNLINK', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
