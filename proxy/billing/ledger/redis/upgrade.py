"""Upgrade of the layout of version 0.1.0, which has no schema key, to the present one.

Every key is converted by one atomic step that can be repeated, so several workers may upgrade at once. The old keys
stay for a week as a backup, under the prefix `v1:`. No gateway of the old version may run meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.billing.ledger.looks import FIRST_LOOK
from proxy.billing.ledger.redis.arguments import Args
from proxy.billing.ledger.redis.dump import keys
from proxy.billing.ledger.redis.scripts.library import script
from proxy.storage.redis_client import Script

Run = Callable[[Script, Args], Awaitable[object]]

_KINDS = ("spent", "seats", "job", "ticket")  # in the order of their conversion: a ticket sets the key of its job

# ARGV: kind and name of an old key, now, seconds until the first look.
_CONVERT = script("""
local kind, name, now, first_look = unpack(ARGV)
local old = base .. kind .. ':' .. name
local kept = base .. 'v1:' .. kind .. ':' .. name
local function type_of(key) return redis.call('TYPE', key)['ok'] end

local function keep_old()
  redis.call('RENAME', old, kept)
  redis.call('EXPIRE', kept, 604800)
end

-- Account and bucket of an old bucket key, or of its name.
local function account_and_bucket(text)
  return string.match(text, '^(.*):(%-?%d+)$')
end

local function convert_bucket()
  local account, bucket = account_and_bucket(name)
  if not account or type_of(old) ~= 'string' then return end
  local sums, ms = numbers(redis.call('GET', old), 2), redis.call('PTTL', old)
  set_bucket(account, bucket, sums[1], sums[2], 0, ms < 0 and 0 or math.ceil(now + ms / 1000))
  keep(base .. 'spent:' .. account, ms < 0 and '' or ms)
  keep_old()
end

local function convert_slots()
  redis.call('ZUNIONSTORE', base .. 'slots:' .. name, 1, old)
  keep(base .. 'slots:' .. name, math.max(redis.call('PTTL', old), 1))
  keep_old()
end

local function convert_ticket()
  local record, job = unpack(redis.call('HMGET', old, 'record', 'job'))
  local r, ms = cjson.decode(record), math.max(redis.call('PTTL', old), 1)
  local caller, endpoint = string.match(r.line, '^(.*) (%S+)$')
  local parts, slots = {}, {}
  for i, key in ipairs(r.buckets) do
    local account, bucket = account_and_bucket(string.match(key, 'spent:(.*)$'))
    parts[i] = string.format('[%s,%s,%.0f,[]]', cjson.encode(account), bucket, r.amount)
  end
  for i, key in ipairs(r.seats) do
    local account = string.match(key, 'seats:(.*)$')
    local ends = redis.call('ZSCORE', base .. 'slots:' .. account, name) or now
    slots[i] = string.format('[%s,%s,%s]', cjson.encode(account), ends, exact(math.max(ends - now, 0)))
  end
  local call = base .. 'call:' .. name
  redis.call('HSET', call, 'open', '1', 'said', '', 'caller', caller, 'endpoint', endpoint, 'amount', whole(r.amount),
             'day', string.match(r.day, 'day:(.*)$'), 'created', now,
             'until', redis.call('ZSCORE', base .. 'due', name) or now,
             'parts', '[' .. table.concat(parts, ',') .. ']', 'slots', '[' .. table.concat(slots, ',') .. ']',
             'state', 'queued', 'worker', '-')
  redis.call('PEXPIRE', call, ms)
  redis.call('ZADD', base .. 'jobs:' .. caller, now, name)
  keep(base .. 'jobs:' .. caller, ms)
  if job then
    job = string.sub(job, #base + 5)
    redis.call('HSET', call, 'job', job, 'alias', '')
    redis.call('SET', base .. 'job:' .. job, name, 'PX', ms)
    redis.call('ZADD', base .. 'look', exact(now + first_look), name)
    keep(base .. 'look', ms)
  end
  keep_old()
end

if redis.call('EXISTS', old) == 0 then return end
if kind == 'spent' then convert_bucket()
elseif kind == 'seats' then convert_slots()
elseif kind == 'job' then if type_of(old) == 'hash' then keep_old() end
else convert_ticket() end
""")


async def upgrade(run: Run, *, now: float) -> int:
    """Converts all keys of the old layout, and returns how many there were. Raises StoreAway."""
    names: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    async for key in keys(run):
        kind, _, name = key.partition(":")
        if kind in names:
            names[kind].append(name)
    for kind in _KINDS:
        for name in names[kind]:
            await run(_CONVERT, [kind, name, repr(now), repr(FIRST_LOOK)])
    return sum(map(len, names.values()))
