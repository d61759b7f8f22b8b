-- Takes, renews or gives back the lock KEYS[1] for who knows the token ARGV[1]. ARGV[2] is
-- for how long, in milliseconds; 0 gives it back. Returns whether the caller had or has it.
local token = redis.pcall('GET', KEYS[1])
if type(token) == 'table' then -- another program has written to it
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
