"""The steps of the Redis ledger, each one script: it happens whole or, where it refuses or fails, not at all.

Redis runs a script alone, and refuses it (no memory, a replica, no disk) at its first write or never. Every key comes
in KEYS. Lua's numbers are doubles: whole amounts are exact up to 2^53, and a sum that would exceed that stops there.
They are written with %.0f, because Lua's own text of 1000000000000000 is 1e+15.

What each key holds is said in `ledger_keys`.
"""

from __future__ import annotations

from proxy.storage.redis_client import Script

# sums: the numbers in a text, "3 0 250". Two of them in a bucket (used, reserved), six in a line of a day (submits and
# on, as in ledger.DayLine). keep: a key is to live *ms* more at least.
_SUMS = """
local function sums(text, count)
  local numbers = {}
  for number in string.gmatch(text or '', '%d+') do numbers[#numbers + 1] = tonumber(number) end
  for i = #numbers + 1, count do numbers[i] = 0 end
  return numbers
end

local function added(numbers, changes)
  local texts = {}
  for i, change in ipairs(changes) do
    texts[i] = string.format('%.0f', math.min(math.max(numbers[i] + change, 0), 9007199254740992))
  end
  return table.concat(texts, ' ')
end

local function note(day, line, changes)
  redis.call('HSET', day, line, added(sums(redis.call('HGET', day, line), 6), changes))
  if redis.call('TTL', day) < 0 then redis.call('EXPIRE', day, 400 * 86400) end
end

local function keep(key, ms)
  if redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, ms) end
end
"""

# KEYS: ticket, due, day, then each charge's buckets with the current one first, then the places of each seat.
# ARGV: the fixed ones named below; for each charge how many buckets, limit, enforce, ms to keep; for each seat limit,
# enforce, end of the lease, ms to keep.
# Answers "1" and, for each allowance in observe mode that is short, its index and what is left of it; or "0" and that
# of the first enforced one that is short.
RESERVE = Script(
    _SUMS
    + """
local said = redis.call('HGET', KEYS[1], 'said')
if said then return said end

local ticket, record, now, forgotten, due, ticket_ms, line, amount, charges, seats = unpack(ARGV, 1, 10)
local answer, buckets, leases = '1', {}, {}
local key, arg = 4, 11

local function is_short(index, left)
  answer = answer .. string.format(' %d %.0f', index, math.max(left, 0))
end

for index = 0, charges - 1 do
  local count, limit, enforce, ms = unpack(ARGV, arg, arg + 3)
  local values = redis.call('MGET', unpack(KEYS, key, key + count - 1))
  local current, total = sums(values[1], 2), 0
  for i = 1, #values do
    local bucket = sums(values[i], 2)
    total = total + bucket[1] + bucket[2]
  end
  if total + amount > tonumber(limit) then
    if enforce == '1' then return string.format('0 %d %.0f', index, math.max(limit - total, 0)) end
    is_short(index, limit - total)
  end
  buckets[#buckets + 1] = {KEYS[key], added(current, {0, amount}), ms}
  key, arg = key + count, arg + 4
end

for index = tonumber(charges), charges + seats - 1 do
  local limit, enforce, ends, ms = unpack(ARGV, arg, arg + 3)
  local left = limit - redis.call('ZCOUNT', KEYS[key], '(' .. now, '+inf')
  if left < 1 then
    if enforce == '1' then return string.format('0 %d 0', index) end
    is_short(index, left)
  end
  leases[#leases + 1] = {KEYS[key], ends, ms}
  key, arg = key + 1, arg + 4
end

for _, bucket in ipairs(buckets) do redis.call('SET', bucket[1], bucket[2], 'PX', bucket[3]) end
for _, lease in ipairs(leases) do
  redis.call('ZADD', lease[1], lease[2], ticket)
  redis.call('ZREMRANGEBYSCORE', lease[1], '-inf', forgotten)
  keep(lease[1], lease[3])
end
redis.call('HSET', KEYS[1], 'said', answer, 'record', record)
redis.call('PEXPIRE', KEYS[1], ticket_ms)
redis.call('ZADD', KEYS[2], due, ticket)
keep(KEYS[2], ticket_ms)
note(KEYS[3], line, {1, 0, amount, 0, 0, 0})
return answer
"""
)

# KEYS: ticket, job. A ticket has the job it got first, and a job the ticket; it may outlive it, for the seats' sake.
ACCEPT = Script("""
local record, job = unpack(redis.call('HMGET', KEYS[1], 'record', 'job'))
if record and not job and redis.call('HSETNX', KEYS[2], 'record', record) == 1 then
  redis.call('HSET', KEYS[1], 'job', KEYS[2])
  redis.call('PEXPIRE', KEYS[2], redis.call('PTTL', KEYS[1]))
end
""")

# KEYS: a ticket or a job.
FIND = Script("return redis.call('HGET', KEYS[1], 'record')")

# KEYS: ticket, due, day, then the current bucket of each charge, the places of each seat, and the job if there is one.
# ARGV: the fixed ones named below. Answers 1 if this ended the reservation, 0 if it had ended before.
# The first write is one that a full server takes, too: what ends makes room.
END = Script(
    _SUMS
    + """
local ticket, line, buckets, seats, used, reserved, refunded, unsettled, overrun = unpack(ARGV)
local open = redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ticket)
for i = 4 + buckets, 3 + buckets + seats do redis.call('ZREM', KEYS[i], ticket) end
for i = 4 + buckets + seats, #KEYS do redis.call('DEL', KEYS[i]) end
if open == 0 then return 0 end

for i = 4, 3 + buckets do
  local bucket = redis.call('GET', KEYS[i])
  if bucket then redis.call('SET', KEYS[i], added(sums(bucket, 2), {used, reserved}), 'KEEPTTL') end
end
note(KEYS[3], line, {0, used, reserved, refunded, unsettled, overrun})
return 1
"""
)

# KEYS: the places of each seat. ARGV: ticket.
RELEASE = Script("for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end")

# KEYS: due. ARGV: now, how many. Answers tickets.
DUE = Script("return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])")

# KEYS: the buckets of each charge, then the places of each seat. ARGV: now, how many buckets each charge has.
# Answers used and reserved of each charge, then the live leases of each seat.
STANDINGS = Script(
    _SUMS
    + """
local answer, key = {}, 1
for i = 2, #ARGV do
  local total = {0, 0}
  for _, value in ipairs(redis.call('MGET', unpack(KEYS, key, key + ARGV[i] - 1))) do
    local bucket = sums(value, 2)
    total = {total[1] + bucket[1], total[2] + bucket[2]}
  end
  answer[#answer + 1] = added(total, {0, 0})
  key = key + ARGV[i]
end
for i = key, #KEYS do answer[#answer + 1] = redis.call('ZCOUNT', KEYS[i], '(' .. ARGV[1], '+inf') end
return table.concat(answer, ' ')
"""
)

# KEYS: days. Answers which of them there are, counted from 1.
KEPT = Script("""
local kept = {}
for i, day in ipairs(KEYS) do
  if redis.call('EXISTS', day) == 1 then kept[#kept + 1] = i end
end
return kept
""")

# KEYS: day. ARGV: cursor. A long day is read in parts, so that it never holds up the server.
LINES = Script("return redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 500)")

# KEYS: the idempotency key. ARGV as named. Answers {answer} where one is stored, else the name of a Claim.
CLAIM = Script("""
local now, hash, owner, held, kept, ms = unpack(ARGV)
local known, until_held, until_kept, answer = unpack(redis.call('HMGET', KEYS[1], 'hash', 'held', 'kept', 'answer'))
if known and tonumber(until_kept) > tonumber(now) then
  if known ~= hash then return 'mismatch' end
  if answer then return {answer} end
  return tonumber(until_held) > tonumber(now) and 'busy' or 'unknown'
end
redis.call('HSET', KEYS[1], 'hash', hash, 'owner', owner, 'held', held, 'kept', kept)
redis.call('HDEL', KEYS[1], 'answer')
redis.call('PEXPIRE', KEYS[1], ms)
return 'fresh'
""")

# Both: only the owner's, and only until it is answered.
STORE = Script("""
local now, mine, answer, kept, ms = unpack(ARGV)
local owner, until_kept, answered = unpack(redis.call('HMGET', KEYS[1], 'owner', 'kept', 'answer'))
if owner == mine and not answered and tonumber(until_kept) > tonumber(now) then
  redis.call('HSET', KEYS[1], 'answer', answer, 'kept', kept)
  redis.call('PEXPIRE', KEYS[1], ms)
end
""")

FREE = Script("""
local owner, answered = unpack(redis.call('HMGET', KEYS[1], 'owner', 'answer'))
if owner == ARGV[1] and not answered then redis.call('DEL', KEYS[1]) end
""")

INFO = Script("return redis.call('INFO', 'memory') .. redis.call('INFO', 'persistence')")
