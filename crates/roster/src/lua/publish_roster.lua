-- Stores a roster unless one of the same or a newer version is there.
-- KEYS[1]  <prefix>:{<account>}:roster:v1, a hash of `version` and `body`
-- ARGV[1]  version, decimal, no leading zeros
-- ARGV[2]  body, JSON
-- ARGV[3]  time to live, seconds
-- returns  1 stored, 0 not newer
-- bound    four commands, one value written; a key that is no roster is replaced
local key, version = KEYS[1], ARGV[1]
local stored
if redis.call('TYPE', key).ok == 'hash' then
  stored = redis.call('HGET', key, 'version')
end
-- Compared as text: a Lua number holds 53 bits, a version 64.
if stored and stored:match('^%d+$')
  and (#stored > #version or (#stored == #version and stored >= version)) then
  return 0
end
redis.call('DEL', key)
redis.call('HSET', key, 'version', version, 'body', ARGV[2])
redis.call('EXPIRE', key, ARGV[3])
return 1
