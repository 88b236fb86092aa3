"""Scripts that list jobs, take those that are due, and read sums."""

from __future__ import annotations

from proxy.billing.ledger.redis.scripts.library import script

_LOOK = """
-- Takes a job for one status request, and makes it due again as `looks.next_look` says.
local function look(id, now, first, longest)
  local created = tonumber(redis.call('HGET', base .. 'call:' .. id, 'created'))
  local age = now - created
  local due = age < first and created + first or now + math.min(age / 2, longest)
  redis.call('HSET', base .. 'call:' .. id, 'looked', exact(now))
  redis.call('ZADD', base .. 'look', exact(due), id)
  return job_record(id)
end
"""

# ARGV: now, how many, seconds until the first look, longest pause, looks a second of all workers. Replies records.
# Jobs of full slots come first: of ten full accounts at random, the oldest sixteen each, so that the cost has a bound.
TAKE_DUE = script(
    _LOOK
    + """
local now, count, first, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local queue, taken = base .. 'look', {}
local second = base .. 'looks:' .. math.floor(now)
count = math.min(count, ARGV[5] - (redis.call('GET', second) or 0))
if count < 1 then return taken end
local full = redis.call('ZRANDMEMBER', base .. 'full', 10, 'WITHSCORES')
for i = 1, #full, 2 do
  local holders = base .. 'slots:' .. full[i]
  if redis.call('ZCOUNT', holders, '(' .. ARGV[1], '+inf') < tonumber(full[i + 1]) then
    redis.call('ZREM', base .. 'full', full[i])
  else
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', holders, '(' .. ARGV[1], '+inf', 'LIMIT', 0, 16)) do
      local due = redis.call('ZSCORE', queue, id)
      if #taken < count and due and tonumber(due) <= now then taken[#taken + 1] = look(id, now, first, longest) end
    end
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', ARGV[1], 'LIMIT', 0, count - #taken)) do
  if redis.call('HGET', base .. 'call:' .. id, 'open') == '1' then
    taken[#taken + 1] = look(id, now, first, longest)
  else
    redis.call('ZREM', queue, id)
  end
end
if #taken > 0 then
  redis.call('INCRBY', second, #taken)
  redis.call('PEXPIRE', second, 10000)
end
return taken
"""
)

_HOLDERS = """
-- Open jobs among the oldest 20 holders of an account's slots: id and time of the last look.
local function holders(account)
  local result = {}
  for _, id in ipairs(redis.call('ZRANGE', base .. 'slots:' .. account, 0, 19)) do
    local open, job, looked = unpack(redis.call('HMGET', base .. 'call:' .. id, 'open', 'job', 'looked'))
    if open == '1' and job then result[#result + 1] = {id, tonumber(looked or 0)} end
  end
  return result
end
"""

# ARGV: account, now, how many, seconds apart, seconds until the first look, longest pause. Replies records.
TAKE_OLDEST = script(
    _LOOK
    + _HOLDERS
    + """
local account, now, count, apart = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local taken = {}
for _, holder in ipairs(holders(account)) do
  if #taken < count and now - holder[2] >= apart then
    taken[#taken + 1] = look(holder[1], now, tonumber(ARGV[5]), tonumber(ARGV[6]))
  end
end
return taken
"""
)

# ARGV: account, now, seconds apart. Replies seconds.
NEXT_LOOK = script(
    _HOLDERS
    + """
local least
for _, holder in ipairs(holders(ARGV[1])) do
  local wait = holder[2] + ARGV[3] - ARGV[2]
  if not least or wait < least then least = wait end
end
return exact(math.max(0, least or tonumber(ARGV[3])))
"""
)

# ARGV: name of a job, or id of a call without one.
SET_RUNNING = script("""
local name = ARGV[1]
local id = redis.call('GET', base .. 'job:' .. name) or name
local open, job = unpack(redis.call('HMGET', base .. 'call:' .. id, 'open', 'job'))
if open == '1' and (job or id) == name then redis.call('HSET', base .. 'call:' .. id, 'state', 'running') end
""")

# ARGV: caller, how many, states as " queued running ", created and id of the last record before ('' for none), how many
# ids to look at. Replies records, whether there are more ids ("1"), and created and id of the last one looked at.
JOBS = script("""
local caller, count, states, before, before_id, batch = unpack(ARGV)
local list, records, seen = base .. 'jobs:' .. caller, {}, 0
local ids = redis.call('ZREVRANGEBYSCORE', list, before == '' and '+inf' or before, '-inf', 'WITHSCORES',
                       'LIMIT', 0, batch)
local last, last_id = before, before_id
for i = 1, #ids, 2 do
  local id, created = ids[i], ids[i + 1]
  if before == '' or tonumber(created) < tonumber(before) or id < before_id then
    last, last_id = created, id
    local record = job_record(id)
    if record and string.find(states, ' ' .. record[6] .. ' ', 1, true) then records[#records + 1] = record end
    if #records == tonumber(count) then break end
  end
end
return {records, #ids == 2 * batch and '1' or '0', last, last_id}
""")

# ARGV: how many. Replies the number of open calls, and records of those whose ttl ends last.
OPEN_CALLS = script("""
local records = {}
for _, id in ipairs(redis.call('ZREVRANGE', base .. 'due', 0, ARGV[1] - 1)) do
  local record = job_record(id)
  if record then records[#records + 1] = record end
end
return {redis.call('ZCARD', base .. 'due'), records}
""")

# ARGV: name of a job, or id of a call.
JOB = script("""
local id = redis.call('GET', base .. 'job:' .. ARGV[1])
if id and redis.call('HGET', base .. 'call:' .. id, 'job') ~= ARGV[1] then id = nil end
return job_record(id or ARGV[1])
""")

# ARGV: now, number of charges, then account and oldest bucket of each, then the account of each slot. Replies used,
# reserved and credit of each charge, then the live slots.
STATUSES = script("""
local now, charges = ARGV[1], tonumber(ARGV[2])
local reply = {}
for index = 1, charges do
  local account, oldest = ARGV[1 + 2 * index], tonumber(ARGV[2 + 2 * index])
  local used, reserved, credit = 0, 0, 0
  local stored = redis.call('HGETALL', base .. 'spent:' .. account)
  for i = 1, #stored, 2 do
    if tonumber(stored[i]) >= oldest then
      local sums = numbers(stored[i + 1], 4)
      used, reserved = used + sums[1], reserved + sums[2]
    end
  end
  for _, one in ipairs(usable_credits(account, now)) do credit = credit + one.left end
  reply[#reply + 1] = table.concat({whole(used), whole(reserved), whole(credit)}, ' ')
end
for index = 3 + 2 * charges, #ARGV do
  reply[#reply + 1] = redis.call('ZCOUNT', base .. 'slots:' .. ARGV[index], '(' .. now, '+inf')
end
return table.concat(reply, ' ')
""")

# ARGV: days. Replies the positions of those that exist, from 1.
DAYS = script("""
local existing = {}
for i, day in ipairs(ARGV) do
  if redis.call('EXISTS', base .. 'day:' .. day) == 1 then existing[#existing + 1] = i end
end
return existing
""")

# ARGV: day, cursor. A long day is read in parts, so that it does not hold up the server.
DAY = script("return redis.call('HSCAN', base .. 'day:' .. ARGV[1], ARGV[2], 'COUNT', 500)")
