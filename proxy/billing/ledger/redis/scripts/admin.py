"""Scripts of the operator's commands, of the workers' heartbeats and of the checks at start."""

from __future__ import annotations

from proxy.billing.ledger.redis.scripts.library import script

# ARGV: name of a job, or id of a call. Replies 1 the first time.
REFUND_ENDED = script("""
local id = redis.call('GET', base .. 'job:' .. ARGV[1]) or ARGV[1]
local call = base .. 'call:' .. id
local open, refunded, price, parts, day, caller, endpoint =
  unpack(redis.call('HMGET', call, 'open', 'refunded', 'price', 'parts', 'day', 'caller', 'endpoint'))
if open ~= '0' or refunded then return 0 end
price = tonumber(price)
for _, part in ipairs(cjson.decode(parts)) do
  local account, bucket, amount = part[1], string.format('%.0f', part[2]), part[3]
  local stored = redis.call('HGET', base .. 'spent:' .. account, bucket)
  if stored then
    local sums = numbers(stored, 4)
    set_bucket(account, bucket, math.max(sums[1] - math.min(price, amount), 0), sums[2], sums[3], sums[4])
  end
  local rest = math.max(0, price - amount)
  for _, credit in ipairs(part[4]) do
    change_credit(account, credit[1], math.min(rest, credit[2]))
    rest = math.max(0, rest - credit[2])
  end
end
redis.call('HSET', call, 'price', '0', 'refunded', '1')
add_to_day(day, caller .. ' ' .. endpoint, {0, -price, 0, price, 0, 0})
return 1
""")

# ARGV: account, credit, "amount left expires".
GRANT_CREDIT = script("""
redis.call('HSET', base .. 'credit:' .. ARGV[1], ARGV[2], ARGV[3])
redis.call('SADD', base .. 'credits', ARGV[1])
""")

# ARGV: account ('': all), now. Replies id, account, amount, left and expires of each.
CREDITS = script("""
local accounts, reply = {ARGV[1]}, {}
if ARGV[1] == '' then
  accounts = redis.call('SMEMBERS', base .. 'credits')
  table.sort(accounts)
end
for _, account in ipairs(accounts) do
  for _, credit in ipairs(usable_credits(account, ARGV[2])) do
    reply[#reply + 1] = {credit.id, account, credit.amount, whole(credit.left), credit.expires}
  end
end
return reply
""")

# ARGV: SADD or SREM, caller.
SET_BLOCKED = script("redis.call(ARGV[1], base .. 'blocked', ARGV[2])")

# ARGV: callers. Replies those that are blocked.
BLOCKED = script("""
local reply = {}
for _, caller in ipairs(ARGV) do
  if redis.call('SISMEMBER', base .. 'blocked', caller) == 1 then reply[#reply + 1] = caller end
end
return reply
""")

# ARGV: accounts. Replies the sum of all that was used.
RESET = script("""
local total = 0
for _, account in ipairs(ARGV) do
  local stored = redis.call('HGETALL', base .. 'spent:' .. account)
  for i = 1, #stored, 2 do
    local sums = numbers(stored[i + 1], 4)
    total = total + sums[1]
    set_bucket(account, stored[i], 0, sums[2], 0, sums[4])
  end
end
return whole(total)
""")

# ARGV: caller, 1 where buckets go too, accounts. Replies the number of open calls; then nothing is changed.
FORGET = script("""
local list = base .. 'jobs:' .. ARGV[1]
local ids, open = redis.call('ZRANGE', list, 0, -1), 0
for _, id in ipairs(ids) do
  if redis.call('HGET', base .. 'call:' .. id, 'open') == '1' then open = open + 1 end
end
if open > 0 then return open end
for _, id in ipairs(ids) do
  local job, key = unpack(redis.call('HMGET', base .. 'call:' .. id, 'job', 'key'))
  if job then redis.call('DEL', base .. 'job:' .. job) end
  if key then redis.call('DEL', base .. 'key:' .. key) end
  end_note(id)
  redis.call('DEL', base .. 'call:' .. id, base .. 'answer:' .. id, base .. 'joined:' .. id)
end
redis.call('DEL', list)
for i = 3, #ARGV do
  redis.call('DEL', base .. 'credit:' .. ARGV[i])
  redis.call('SREM', base .. 'credits', ARGV[i])
  if ARGV[2] == '1' then redis.call('DEL', base .. 'spent:' .. ARGV[i]) end
end
return 0
""")

# ARGV: day:<date>, line, the line that its sums are added to. A line with something reserved stays.
MOVE_DAY = script("""
local key = base .. ARGV[1]
local stored = redis.call('HGET', key, ARGV[2])
local moved = numbers(stored, 6)
if not stored or moved[3] ~= 0 then return end
local sums = numbers(redis.call('HGET', key, ARGV[3]), 6)
for i = 1, 6 do sums[i] = whole(sums[i] + moved[i]) end
redis.call('HSET', key, ARGV[3], table.concat(sums, ' '))
redis.call('HDEL', key, ARGV[2])
""")

# ARGV: day, lines of its sums. Removes those with nothing reserved.
DROP_LINES = script("""
local key = base .. 'day:' .. ARGV[1]
for i = 2, #ARGV do
  local stored = redis.call('HGET', key, ARGV[i])
  if stored and numbers(stored, 6)[3] == 0 then redis.call('HDEL', key, ARGV[i]) end
end
""")

# ARGV: worker, text that differs from the one before, ms to live, then ids of ended notes. Replies the epoch, the
# number of open calls and the server's time, then the pauses that workers share.
HEARTBEAT = script("""
redis.call('SET', base .. 'worker:' .. ARGV[1], ARGV[2], 'PX', ARGV[3])
for i = 4, #ARGV do end_note(ARGV[i]) end
local time = redis.call('TIME')
local reply = {redis.call('GET', base .. 'epoch') or '', tostring(redis.call('ZCARD', base .. 'due')),
               string.format('%s.%06d', time[1], time[2])}
for _, pause in ipairs(redis.call('HVALS', base .. 'pauses')) do table.insert(reply, pause) end
return reply
""")

# ARGV: name and text of a pause that workers share, ms to live.
SHARE_PAUSE = script("""
redis.call('HSET', base .. 'pauses', ARGV[1], ARGV[2])
redis.call('PEXPIRE', base .. 'pauses', ARGV[3])
""")

END_PAUSE = script("redis.call('HDEL', base .. 'pauses', ARGV[1])")

# ARGV: worker. Replies its last heartbeat, or nil.
LAST_HEARTBEAT = script("return redis.call('GET', base .. 'worker:' .. ARGV[1])")

END_WORKER = script("redis.call('DEL', base .. 'worker:' .. ARGV[1])")

# ARGV: name (epoch, schema), the text to set where there is none (''). Replies the text that is set now, or ''.
GET_OR_SET = script("""
if ARGV[2] ~= '' then redis.call('SET', base .. ARGV[1], ARGV[2], 'NX') end
return redis.call('GET', base .. ARGV[1]) or ''
""")

INFO = script("return redis.call('INFO', 'memory') .. redis.call('INFO', 'persistence')")
