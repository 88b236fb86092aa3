"""Keys of the Redis ledger, and the Lua functions that its scripts share.

KEYS[1] of every script is BASE. All other keys begin with it, so they share its hash tag, and a Cluster keeps them on
one node. That is why a script may compute their names from what it reads.

    call:<id>          hash: a reservation with its job, note and outcome, until 7 days after its end.
    job:<job>          id of the job's call.
    jobs:<caller>      sorted set: ids of the caller's newest 1,000 calls, by creation.
    due                sorted set: ids of open calls, by the end of their ttl.
    look               sorted set: ids of open jobs, by the next status request of the reconciler.
    full               sorted set: slot accounts that were full, with their limit.
    slots:<account>    sorted set: ids of calls that hold a slot, by the end of the slot.
    spent:<account>    hash: bucket -> "used reserved alerted until"; until in whole seconds, 0 for a lifetime.
    credit:<account>   hash: credit -> "amount left expires".
    credits            set of the accounts that have credits.
    blocked            set of blocked callers.
    day:<date>         hash: "caller endpoint" -> the six sums of DailyUsage.
    key:<key>          hash of an idempotency key.
    open:<fingerprint> hash: id -> "worker until": calls whose callers, or whose repeats' callers, are connected.
    lost:<fingerprint> list: ids of lost calls, the first one first.
    answer:<id>        hash: the stored answer of a lost call.
    joined:<id>        id and fingerprint of the call that a repeat took.
    worker:<worker>    heartbeat of a worker.
    clock              time of the last sweep.
    epoch              random text that is gone when the data was lost.
    schema             version of this layout.

Redis runs a script alone, and refuses it (no memory, a replica, no disk) at its first write or never. Lua's numbers are
doubles: whole amounts are exact up to 2^53, and sums stop there. They are written with %.0f, because Lua's own text of
1000000000000000 is 1e+15.
"""

from __future__ import annotations

from proxy.storage.redis_client import Script

BASE = "{ledger}:"
SCHEMA = "2"

LIBRARY = """
local base = KEYS[1]

-- The whole numbers in a text like "3 0 250", filled up with zeros.
local function numbers(text, count)
  local result = {}
  for number in string.gmatch(text or '', '%d+') do result[#result + 1] = tonumber(number) end
  for i = #result + 1, count do result[i] = 0 end
  return result
end

local function whole(number)
  return string.format('%.0f', math.min(math.max(number, 0), 9007199254740992))
end

-- Makes a key live for at least ms more; for ever with ''.
local function keep(key, ms)
  if ms == '' then
    redis.call('PERSIST', key)
  elseif redis.call('PTTL', key) < tonumber(ms) then
    redis.call('PEXPIRE', key, ms)
  end
end

local function add_to_day(day, line, changes)
  local key = base .. 'day:' .. day
  local sums = numbers(redis.call('HGET', key, line), 6)
  for i, change in ipairs(changes) do sums[i] = whole(sums[i] + change) end
  redis.call('HSET', key, line, table.concat(sums, ' '))
  if redis.call('TTL', key) < 0 then redis.call('EXPIRE', key, 400 * 86400) end
end

local function change_credit(account, id, change)
  local key = base .. 'credit:' .. account
  local amount, left, expires = string.match(redis.call('HGET', key, id) or '', '^(%S+) (%S+) (%S*)$')
  if amount then
    redis.call('HSET', key, id, string.format('%s %s %s', amount, whole(left + change), expires))
  end
end

-- Credits of an account with something left and not expired, the one that expires first first.
local function usable_credits(account, now)
  local result = {}
  local stored = redis.call('HGETALL', base .. 'credit:' .. account)
  for i = 1, #stored, 2 do
    local amount, left, expires = string.match(stored[i + 1], '^(%S+) (%S+) (%S*)$')
    local ends = tonumber(expires) or math.huge
    if tonumber(left) > 0 and ends > tonumber(now) then
      result[#result + 1] = {id = stored[i], amount = amount, left = tonumber(left), expires = expires, ends = ends}
    end
  end
  table.sort(result, function(a, b)
    if a.ends ~= b.ends then return a.ends < b.ends end
    return a.id < b.id
  end)
  return result
end

local function set_bucket(account, id, used, reserved, alerted, until_)
  redis.call('HSET', base .. 'spent:' .. account, id,
             string.format('%s %s %d %.0f', whole(used), whole(reserved), alerted, until_))
end

local function free_slots(id, slots)
  for _, slot in ipairs(cjson.decode(slots)) do redis.call('ZREM', base .. 'slots:' .. slot[1], id) end
end

-- Ends the note of a call whose caller has its answer.
local function end_note(id)
  local fingerprint = redis.call('HGET', base .. 'call:' .. id, 'fp')
  if fingerprint then
    redis.call('HDEL', base .. 'call:' .. id, 'fp')
    redis.call('HDEL', base .. 'open:' .. fingerprint, id)
  end
end

-- The text of a time with all its digits.
local function exact(number)
  return string.format('%.17g', number)
end

-- Fields of interface.JobRecord in their order; false where the call is gone. A call without a job runs in its worker.
local function job_record(id)
  local fields = redis.call('HMGET', base .. 'call:' .. id, 'job', 'alias', 'caller', 'endpoint', 'state', 'amount',
                            'price', 'created', 'ended', 'worker')
  if not fields[3] then return false end
  local worker = table.remove(fields) or ''
  if fields[5] == 'running' and not fields[1] and redis.call('EXISTS', base .. 'worker:' .. worker) == 0 then
    fields[5] = 'queued'
  end
  for i = 1, 9 do fields[i] = fields[i] or '' end
  table.insert(fields, 1, id)
  return fields
end
"""

# Ends an open call: KEYS[1] as always. Used by the steps that settle, refund and sweep.
END_LIBRARY = """
local function settle_parts(parts, spent)
  for _, part in ipairs(cjson.decode(parts)) do
    local account, bucket, amount, credits = part[1], string.format('%.0f', part[2]), part[3], part[4]
    local stored = redis.call('HGET', base .. 'spent:' .. account, bucket)
    if stored then
      local sums = numbers(stored, 4)
      set_bucket(account, bucket, sums[1] + math.min(spent, amount), math.max(sums[2] - amount, 0), sums[3], sums[4])
    end
    local rest = math.max(0, spent - amount)
    for _, credit in ipairs(credits) do
      change_credit(account, credit[1], credit[2] - math.min(rest, credit[2]))
      rest = math.max(0, rest - credit[2])
    end
  end
end

-- Settles the money of a call and takes it out of the queues. The first write is one that a full server accepts.
local function close_call(id, amount, spent, unsettled, overrun)
  local call = base .. 'call:' .. id
  local caller, endpoint, day, parts = unpack(redis.call('HMGET', call, 'caller', 'endpoint', 'day', 'parts'))
  redis.call('ZREM', base .. 'due', id)
  redis.call('ZREM', base .. 'look', id)
  settle_parts(parts, spent)
  add_to_day(day, caller .. ' ' .. endpoint, {0, spent, -amount, amount - spent, unsettled, overrun})
end

local function end_call(id, state, price, now, ms)
  local call = base .. 'call:' .. id
  redis.call('HSET', call, 'open', '0', 'state', state, 'price', whole(price), 'ended', now)
  redis.call('PEXPIRE', call, ms)
  local job = redis.call('HGET', call, 'job')
  if job then redis.call('PEXPIRE', base .. 'job:' .. job, ms) end
end
"""


def script(text: str, *, ends_calls: bool = False) -> Script:
    """Returns the script of one step, with the functions that it may use."""
    return Script(LIBRARY + (END_LIBRARY if ends_calls else "") + text)
