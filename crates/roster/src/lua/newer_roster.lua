-- Reads a roster when its version is above the one known, so that an unchanged roster costs bytes, not megabytes.
-- KEYS[1]  <prefix>:{<account>}:roster:v1, a hash of `version` and `body`
-- ARGV[1]  known version, decimal, no leading zeros
-- returns  the body, JSON; nil when none is stored or it is not newer; '' when the key holds no roster
-- bound    two commands, one value read
local key, known = KEYS[1], ARGV[1]
local kind = redis.call('TYPE', key).ok
if kind == 'none' then
  return false
end
if kind ~= 'hash' then
  return ''
end
local stored = redis.call('HGET', key, 'version')
if not (stored and stored:match('^%d+$')) then
  return ''
end
-- Compared as text: a Lua number holds 53 bits, a version 64.
if #stored < #known or (#stored == #known and stored <= known) then
  return false
end
return redis.call('HGET', key, 'body') or ''
