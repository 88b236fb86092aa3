"""Script of the reservation step: block, key, lost calls, limits, and the reservation itself.

The reply is a list whose first item names the result:

    epoch <epoch>                 the data was lost: nothing was done
    granted <observed> <crossed>  "index left …" of limits in observe mode, "index percent …" of thresholds
    short <index> <left> <alert>  the limit without room; alert is 1 where its bucket reports 100 % now
    blocked
    key <state>
    answer <bytes>
    call <id> <job> <alias> <created> <answer> <worker>
    undecided <worker> …          repeat the step with a verdict on these workers; nothing was done
"""

from __future__ import annotations

from proxy.billing.ledger.redis.scripts.library import script

# ARGV begins with the fixed arguments that the script names. Then come, of each charge: account, current, oldest,
# limit, enforce, ms to keep, until, thresholds. Of each slot: account, limit, enforce, end, ms to keep. Then come ids
# of ended notes, workers that are alive, and workers that are dead.
RESERVE = script(
    """
local id, now, epoch, worker, caller, endpoint, amount, day, due, call_ms = unpack(ARGV, 1, 10)
local slots_json, jobs_ms, key, body_hash, held, kept, key_ms, fingerprint, rejoin = unpack(ARGV, 11, 19)
local note_until, join_until, note_ms, resumed, charges, slots, ended, alive, dead = unpack(ARGV, 20, 28)
local call, time = base .. 'call:' .. id, tonumber(now)
amount = tonumber(amount)

local current_epoch = redis.call('GET', base .. 'epoch')
if current_epoch ~= epoch then return {'epoch', current_epoch or ''} end

-- Arguments of variable number.
local next_arg = 29
local function take(count)
  next_arg = next_arg + count
  return unpack(ARGV, next_arg - count, next_arg - 1)
end
local charge_list, slot_list, verdicts = {}, {}, {}
for i = 1, tonumber(charges) do charge_list[i] = {take(8)} end
for i = 1, tonumber(slots) do slot_list[i] = {take(5)} end
local ended_notes = {}
for i = 1, tonumber(ended) do ended_notes[i] = take(1) end
for i = 1, tonumber(alive) do verdicts[take(1)] = 'alive' end
for i = 1, tonumber(dead) do verdicts[take(1)] = 'dead' end

local function call_reply(other)
  local fields = redis.call('HMGET', base .. 'call:' .. other, 'job', 'alias', 'created', 'worker')
  local answer = ''
  if not fields[1] then
    local until_, stored = unpack(redis.call('HMGET', base .. 'answer:' .. other, 'until', 'answer'))
    if stored and tonumber(until_) > time then answer = '+' .. stored end
  end
  return {'call', other, fields[1] or '', fields[2] or '', fields[3] or now, answer, fields[4] or ''}
end

local function earlier_result()
  local said, is_open = unpack(redis.call('HMGET', call, 'said', 'open'))
  if is_open == '1' then return {'granted', said, ''} end
  local joined = resumed == '1' and redis.call('GET', base .. 'joined:' .. id)
  if joined then return call_reply(string.match(joined, '^(%S+)')) end
  if redis.call('SISMEMBER', base .. 'blocked', caller) == 1 then return {'blocked'} end

  if key ~= '' then
    local claim = redis.call('HMGET', base .. 'key:' .. key, 'hash', 'owner', 'held', 'kept', 'answer', 'job', 'alias',
                             'created', 'worker')
    if claim[1] and tonumber(claim[4]) > time then
      if claim[1] ~= body_hash then return {'key', 'mismatch'} end
      if claim[5] then return {'answer', claim[5]} end
      if claim[6] then
        return {'call', claim[2], claim[6], claim[7] or '', claim[8] or now, '', worker}
      end
      local owner = claim[9] or ''
      if owner ~= '' and owner ~= worker and redis.call('EXISTS', base .. 'worker:' .. owner) == 0 then
        return {'key', 'unknown'}
      end
      return {'key', tonumber(claim[3]) > time and 'busy' or 'unknown'}
    end
  elseif fingerprint ~= '' then
    local function join(other)
      redis.call('HSET', base .. 'call:' .. other, 'lost', '', 'fp', fingerprint, 'nuntil', join_until)
      redis.call('SET', base .. 'joined:' .. id, other .. ' ' .. fingerprint .. ' ' .. rejoin, 'PX', note_ms)
      -- Where the joiner's worker dies too, the next repeat finds the call again.
      redis.call('HSET', base .. 'open:' .. fingerprint, other, worker .. ' ' .. note_until)
      keep(base .. 'open:' .. fingerprint, note_ms)
      return call_reply(other)
    end
    local queue = base .. 'lost:' .. fingerprint
    local other = redis.call('LPOP', queue)
    while other do
      local fp, lost, kept_for = unpack(redis.call('HMGET', base .. 'call:' .. other, 'fp', 'lost', 'rejoin'))
      if fp == fingerprint and lost and lost ~= '' and time < lost + kept_for then return join(other) end
      other = redis.call('LPOP', queue)
    end
    local undecided, oldest, oldest_created = {'undecided'}, nil, math.huge
    local notes = redis.call('HGETALL', base .. 'open:' .. fingerprint)
    for i = 1, #notes, 2 do
      local owner, until_ = string.match(notes[i + 1], '^(%S+) (%S+)$')
      if owner ~= worker and time < tonumber(until_) then
        if verdicts[owner] == 'dead' then
          local created = tonumber(redis.call('HGET', base .. 'call:' .. notes[i], 'created') or math.huge)
          if created < oldest_created then oldest, oldest_created = notes[i], created end
        elseif not verdicts[owner] then
          undecided[#undecided + 1] = owner
        end
      end
    end
    if #undecided > 1 then return undecided end
    if oldest then return join(oldest) end
  end

end

local function reserve()
  local clock = redis.call('GET', base .. 'clock')
  local observed, crossed, parts = {}, {}, {}

  for index, charge in ipairs(charge_list) do
    local account, current, from, limit, enforce = unpack(charge)
    local total, old, bucket, exists = 0, {}, {0, 0, 0, 0}, false
    local stored = redis.call('HGETALL', base .. 'spent:' .. account)
    for i = 1, #stored, 2 do
      local sums = numbers(stored[i + 1], 4)
      if tonumber(stored[i]) >= tonumber(from) then
        total = total + sums[1] + sums[2]
      elseif clock and sums[4] > 0 and sums[4] < clock - 3600 then
        old[#old + 1] = stored[i]
      end
      if stored[i] == current then bucket, exists = sums, true end
    end
    local missing, credits = 0, {}
    if total + amount > tonumber(limit) then
      missing = math.min(total + amount - limit, amount)
      local rest, paid = missing, false
      for _, credit in ipairs(enforce == '1' and usable_credits(account, now) or {}) do
        local share = math.min(rest, credit.left)
        if share > 0 then credits[#credits + 1] = {credit.id, share} end
        rest = rest - share
        if rest == 0 then paid = true end
      end
      if not paid and enforce == '1' then
        local alert = 0
        if amount <= tonumber(limit) and exists and bucket[3] < 100
           and string.find(' ' .. charge[8] .. ' ', ' 100 ', 1, true) then
          set_bucket(account, current, bucket[1], bucket[2], 100, bucket[4])
          alert = 1
        end
        return {'short', index - 1, whole(limit - total), alert}
      end
      if not paid then
        missing = 0
        observed[#observed + 1] = string.format('%d %s', index - 1, whole(limit - total))
      end
    end
    parts[index] = {account = account, current = current, bucket = bucket, old = old, total = total,
                    amount = amount - missing, credits = credits}
  end

  for index, slot in ipairs(slot_list) do
    local account, limit, enforce = unpack(slot)
    local left = limit - redis.call('ZCOUNT', base .. 'slots:' .. account, '(' .. now, '+inf')
    if left < 1 then
      if enforce == '1' then return {'short', charges + index - 1, '0', 0} end
      observed[#observed + 1] = string.format('%d 0', charges + index - 1)
    end
    slot[6] = left - 1
  end

  if not clock then redis.call('SET', base .. 'clock', now, 'EX', 604800) end

  local texts = {}
  for index, part in ipairs(parts) do
    local limit, _, ms, until_, thresholds = unpack(charge_list[index], 4, 8)
    local bucket, alerted = part.bucket, part.bucket[3]
    for percent in string.gmatch(thresholds, '%d+') do
      local mark = percent * limit / 100
      if tonumber(percent) > bucket[3] and part.total < mark and mark <= part.total + part.amount then
        crossed[#crossed + 1] = string.format('%d %s', index - 1, percent)
        alerted = math.max(alerted, tonumber(percent))
      end
    end
    until_ = until_ == '0' and 0 or math.max(bucket[4], tonumber(until_))
    set_bucket(part.account, part.current, bucket[1], bucket[2] + part.amount, alerted, until_)
    for _, bucket_id in ipairs(part.old) do redis.call('HDEL', base .. 'spent:' .. part.account, bucket_id) end
    keep(base .. 'spent:' .. part.account, ms)
    local shares = {}
    for i, credit in ipairs(part.credits) do
      change_credit(part.account, credit[1], -credit[2])
      shares[i] = string.format('[%s,%.0f]', cjson.encode(credit[1]), credit[2])
    end
    texts[index] = string.format('[%s,%s,%.0f,[%s]]', cjson.encode(part.account), part.current, part.amount,
                                 table.concat(shares, ','))
  end

  for _, slot in ipairs(slot_list) do
    local account, limit, _, ends, ms, left = unpack(slot)
    local holders = base .. 'slots:' .. account
    redis.call('ZADD', holders, ends, id)
    if clock then redis.call('ZREMRANGEBYSCORE', holders, '-inf', clock) end
    keep(holders, ms)
    if left < 1 and tonumber(limit) <= 64 then
      redis.call('ZADD', base .. 'full', limit, account)
      keep(base .. 'full', jobs_ms)
    end
  end

  local said = table.concat(observed, ' ')
  redis.call('ZADD', base .. 'due', due, id)
  redis.call('DEL', call)
  redis.call('HSET', call, 'open', '1', 'said', said, 'caller', caller, 'endpoint', endpoint, 'amount', whole(amount),
             'day', day, 'created', now, 'until', due, 'parts', '[' .. table.concat(texts, ',') .. ']',
             'slots', slots_json, 'state', 'queued', 'worker', worker)
  redis.call('PEXPIRE', call, call_ms)
  keep(base .. 'due', call_ms)
  add_to_day(day, caller .. ' ' .. endpoint, {1, 0, amount, 0, 0, 0})

  local list = base .. 'jobs:' .. caller
  redis.call('ZADD', list, now, id)
  keep(list, call_ms)
  for _, old in ipairs(redis.call('ZRANGE', list, 0, -1001)) do
    redis.call('ZREM', list, old)
    local old_open, old_job = unpack(redis.call('HMGET', base .. 'call:' .. old, 'open', 'job'))
    if old_open ~= '1' then
      redis.call('DEL', base .. 'call:' .. old)
      if old_job then redis.call('DEL', base .. 'job:' .. old_job) end
    end
  end

  if key ~= '' then
    redis.call('HSET', call, 'key', key)
    redis.call('DEL', base .. 'key:' .. key)
    redis.call('HSET', base .. 'key:' .. key, 'hash', body_hash, 'owner', id, 'held', held, 'kept', kept,
               'created', now, 'worker', worker)
    redis.call('PEXPIRE', base .. 'key:' .. key, key_ms)
  elseif fingerprint ~= '' then
    redis.call('HSET', call, 'fp', fingerprint, 'rejoin', rejoin, 'nuntil', due)
    redis.call('HSET', base .. 'open:' .. fingerprint, id, worker .. ' ' .. note_until)
    keep(base .. 'open:' .. fingerprint, note_ms)
  end
  return {'granted', said, table.concat(crossed, ' ')}
end

local reply = earlier_result() or reserve()
-- A full server refuses the step at its first write, so the writes that it accepts come last.
for _, note in ipairs(ended_notes) do end_note(note) end
return reply
"""
)
