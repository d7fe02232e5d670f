package redis

import "github.com/redis/go-redis/v9"

// Every write is one script on the keys of one shard. Where being run twice
// would change the answer, KEYS[2] is the nonce's key, ARGV[1] how long it is
// kept, in ms, and the script begins by looking whether it has run before:
// go-redis sends a write again when the answer was lost. A script that finds its
// own answer writes all the same (it prolongs the nonce), because WAIT speaks
// only of the writes of its own connection, and the retry may be on a new one.
const (
	again = `local done = redis.call('GET', KEYS[2])
if done then redis.call('PEXPIRE', KEYS[2], ARGV[1]) return done end
`
	// The time by which everything in Redis expires, in microseconds.
	micros = `local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
`
	// ARGV: nonce's life, version expected or 0, value, time to live or 0.
	// Answers the version: the time, so that it is above those of records of this
	// key that are gone.
	putLua = again + `local v = redis.call('HGET', KEYS[1], 'v')
if (v or '0') ~= ARGV[2] then return false end
` + micros + `local version = string.format('%.0f', math.max(now, tonumber(v or '0') + 1))
redis.call('HSET', KEYS[1], 'v', version, 'd', ARGV[3])
if ARGV[4] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
redis.call('SET', KEYS[2], version, 'PX', ARGV[1])
return version`
	// ARGV: nonce's life. Keeps the value for its own retry only.
	takeLua = `local done = redis.call('HMGET', KEYS[2], 'v', 'd')
if done[1] then redis.call('PEXPIRE', KEYS[2], ARGV[1]) return done end
local r = redis.call('HMGET', KEYS[1], 'v', 'd')
if not r[1] then return false end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], 'v', r[1], 'd', r[2])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return r`
	// ARGV: nonce's life, delta, window. Answers "sum milliseconds".
	addLua = again + `local n = redis.call('INCRBY', KEYS[1], ARGV[2])
if n < 0 then n = 0 redis.call('SET', KEYS[1], 0, 'KEEPTTL') end
local left = redis.call('PTTL', KEYS[1])
if left < 0 then left = ARGV[3] redis.call('PEXPIRE', KEYS[1], left) end
local answer = redis.call('GET', KEYS[1]) .. ' ' .. left
redis.call('SET', KEYS[2], answer, 'PX', ARGV[1])
return answer`
	// KEYS: record, counter.
	deleteLua = `return redis.call('DEL', KEYS[1], KEYS[2])`
	// ARGV: time to live, member.
	joinLua = micros + `now = math.floor(now / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[2])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', KEYS[1], math.max(1, last[2] - now))
return 1`
	leaveLua   = `return redis.call('ZREM', KEYS[1], ARGV[1])`
	membersLua = micros + `return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. math.floor(now / 1000), '+inf')`
	// A script has a key, and so goes to one shard of a cluster, always the same.
	nowLua = `return redis.call('TIME')`
)

var (
	putScript     = redis.NewScript(putLua)
	takeScript    = redis.NewScript(takeLua)
	addScript     = redis.NewScript(addLua)
	deleteScript  = redis.NewScript(deleteLua)
	joinScript    = redis.NewScript(joinLua)
	leaveScript   = redis.NewScript(leaveLua)
	membersScript = redis.NewScript(membersLua)
	nowScript     = redis.NewScript(nowLua)
)
