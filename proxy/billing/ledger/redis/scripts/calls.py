"""Scripts that end a reservation, and those of lost calls and idempotency keys."""

from __future__ import annotations

from proxy.billing.ledger.redis.scripts.library import script

# ARGV: id, job, alias of the fal key, ms that a slot is kept beyond its end, seconds until the first look.
ACCEPT = script("""
local id, job, alias, slack, first_look = unpack(ARGV)
local call = base .. 'call:' .. id
local open, known, created, slots, key = unpack(redis.call('HMGET', call, 'open', 'job', 'created', 'slots', 'key'))
if open ~= '1' or known then return end
local ms = redis.call('PTTL', call)
if not redis.call('SET', base .. 'job:' .. job, id, 'NX', 'PX', ms) then return end
redis.call('HSET', call, 'job', job, 'alias', alias)
for _, slot in ipairs(cjson.decode(slots)) do
  local holders = base .. 'slots:' .. slot[1]
  redis.call('ZADD', holders, exact(created + slot[3]), id)
  keep(holders, string.format('%.0f', slot[3] * 1000 + slack))
end
redis.call('ZADD', base .. 'look', exact(created + first_look), id)
keep(base .. 'look', ms)
if key then
  local owner, answer = unpack(redis.call('HMGET', base .. 'key:' .. key, 'owner', 'answer'))
  if owner == id and not answer then redis.call('HSET', base .. 'key:' .. key, 'job', job, 'alias', alias) end
end
""")

# ARGV: what the name is (job, call), the name, now, amount ('': the reserved one), state, ms that the call is kept.
# Replies 1 if this ended the reservation, 0 if it had ended before.
SETTLE = script(
    """
local kind, name, now, amount, state, ms = unpack(ARGV)
local id = kind == 'job' and redis.call('GET', base .. 'job:' .. name) or name
local open, job, reserved, slots = unpack(redis.call('HMGET', base .. 'call:' .. id, 'open', 'job', 'amount', 'slots'))
if not open or (kind == 'job' and job ~= name) then return 0 end
free_slots(id, slots)
if open ~= '1' then return 0 end
reserved = tonumber(reserved)
local due = amount == '' and reserved or tonumber(amount)
local spent = math.min(due, reserved)
close_call(id, reserved, spent, 0, due - spent)
end_call(id, state, spent, now, ms)
return 1
""",
    ends_calls=True,
)

# ARGV: id, now, ms that a lost call is kept. For a repeat that took a lost call, the call returns to its queue.
REFUND = script(
    """
local id, now, ms = unpack(ARGV)
local call = base .. 'call:' .. id
local open, job, reserved, slots, caller, key, fingerprint =
  unpack(redis.call('HMGET', call, 'open', 'job', 'amount', 'slots', 'caller', 'key', 'fp'))
if open ~= '1' then
  local other, other_fingerprint, rejoin =
    string.match(redis.call('GET', base .. 'joined:' .. id) or '', '^(%S+) (%S+) (%S+)$')
  if other and redis.call('EXISTS', base .. 'call:' .. other) == 1 then
    redis.call('DEL', base .. 'joined:' .. id)
    redis.call('HDEL', base .. 'open:' .. other_fingerprint, other)
    redis.call('HSET', base .. 'call:' .. other, 'lost', now, 'rejoin', rejoin, 'fp', other_fingerprint)
    redis.call('LPUSH', base .. 'lost:' .. other_fingerprint, other)
    keep(base .. 'lost:' .. other_fingerprint, ms)
  end
  return
end
free_slots(id, slots)
close_call(id, tonumber(reserved), 0, 0, 0)
redis.call('ZREM', base .. 'jobs:' .. caller, id)
redis.call('DEL', call)
if job then redis.call('DEL', base .. 'job:' .. job) end
if fingerprint then redis.call('HDEL', base .. 'open:' .. fingerprint, id) end
if key then
  local owner, answer, key_job = unpack(redis.call('HMGET', base .. 'key:' .. key, 'owner', 'answer', 'job'))
  if owner == id and not answer and not key_job then redis.call('DEL', base .. 'key:' .. key) end
end
""",
    ends_calls=True,
)

# ARGV: job.
RELEASE = script("""
local id = redis.call('GET', base .. 'job:' .. ARGV[1])
if not id then return end
local job, slots = unpack(redis.call('HMGET', base .. 'call:' .. id, 'job', 'slots'))
if job == ARGV[1] then free_slots(id, slots) end
""")

# ARGV: now, or the time of an earlier batch; 1 for the first batch; the most calls; ms to keep an old one.
# The reply: the numbers of ended and found calls, the time, the time of the last sweep.
SWEEP = script(
    """
local now, first, count, ms = unpack(ARGV)
local clock = redis.call('GET', base .. 'clock')
local assumed = now
if first == '1' then
  if clock and tonumber(now) > clock + 3600 then assumed = exact(clock + 3600) end
  redis.call('SET', base .. 'clock', assumed, 'EX', 604800)
end
local ended = 0
local ids = redis.call('ZRANGEBYSCORE', base .. 'due', '-inf', assumed, 'LIMIT', 0, count)
for _, id in ipairs(ids) do
  local open, amount = unpack(redis.call('HMGET', base .. 'call:' .. id, 'open', 'amount'))
  if open == '1' then
    close_call(id, tonumber(amount), tonumber(amount), tonumber(amount), 0)
    end_call(id, 'unknown', tonumber(amount), now, ms)
    ended = ended + 1
  else
    redis.call('ZREM', base .. 'due', id)
  end
end
return {ended, #ids, assumed, clock or ''}
""",
    ends_calls=True,
)

# ARGV: id, fingerprint, seconds of rejoining, now, end of rejoining, worker, ms that the queue is kept.
MARK_LOST = script("""
local id, fingerprint, rejoin, now, until_, worker, ms = unpack(ARGV)
local call = base .. 'call:' .. id
local exists, lost, noted = unpack(redis.call('HMGET', call, 'open', 'lost', 'fp'))
if not exists or (noted and lost and lost ~= '') then return end
redis.call('HSET', call, 'fp', fingerprint, 'rejoin', rejoin, 'lost', now, 'nuntil', until_)
redis.call('HDEL', base .. 'open:' .. fingerprint, id)
redis.call('RPUSH', base .. 'lost:' .. fingerprint, id)
keep(base .. 'lost:' .. fingerprint, ms)
""")

# ARGV: id, answer, end of its use, ms that it is kept.
ANSWER_CALL = script("""
local key = base .. 'answer:' .. ARGV[1]
redis.call('HSET', key, 'answer', ARGV[2], 'until', ARGV[3])
redis.call('PEXPIRE', key, ARGV[4])
""")

# ARGV: id, now, the worker that asks. Replies job, alias, created, answer, 1 if the call's worker is alive; or nil.
CALL = script("""
local id, now, worker = unpack(ARGV)
local fields = redis.call('HMGET', base .. 'call:' .. id, 'fp', 'nuntil', 'job', 'alias', 'created', 'worker')
if not fields[1] or tonumber(fields[2]) <= tonumber(now) then return false end
local answer = ''
if not fields[3] then
  local until_, stored = unpack(redis.call('HMGET', base .. 'answer:' .. id, 'until', 'answer'))
  if stored and tonumber(until_) > tonumber(now) then answer = '+' .. stored end
end
local alive = fields[6] == worker or redis.call('EXISTS', base .. 'worker:' .. fields[6]) == 1
return {fields[3] or '', fields[4] or '', fields[5], answer, alive and '1' or '0'}
""")

# ARGV as named. Replies {answer} where one is stored, else the name of a KeyState.
CLAIM = script("""
local key, now, hash, owner, held, kept, ms, worker = unpack(ARGV)
key = base .. 'key:' .. key
local known, until_held, until_kept, answer = unpack(redis.call('HMGET', key, 'hash', 'held', 'kept', 'answer'))
if known and tonumber(until_kept) > tonumber(now) then
  if known ~= hash then return 'mismatch' end
  if answer then return {answer} end
  return tonumber(until_held) > tonumber(now) and 'busy' or 'unknown'
end
redis.call('HSET', key, 'hash', hash, 'owner', owner, 'held', held, 'kept', kept, 'created', now, 'worker', worker)
redis.call('HDEL', key, 'answer', 'job', 'alias')
redis.call('PEXPIRE', key, ms)
return 'fresh'
""")

# Both: no effect unless the owner holds the unanswered claim.
STORE = script("""
local key, now, mine, answer, kept, ms = unpack(ARGV)
key = base .. 'key:' .. key
local owner, until_kept, answered, job = unpack(redis.call('HMGET', key, 'owner', 'kept', 'answer', 'job'))
if owner == mine and not answered and not job and tonumber(until_kept) > tonumber(now) then
  redis.call('HSET', key, 'answer', answer, 'kept', kept)
  redis.call('PEXPIRE', key, ms)
end
""")

FREE = script("""
local key = base .. 'key:' .. ARGV[1]
local owner, answered, job = unpack(redis.call('HMGET', key, 'owner', 'answer', 'job'))
if owner == ARGV[2] and not answered and not job then redis.call('DEL', key) end
""")
