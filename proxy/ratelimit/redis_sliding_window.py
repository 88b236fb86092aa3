"""Sliding windows in Redis, shared by all workers. `sliding_window` describes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from proxy.errors import StoreAway
from proxy.ratelimit.sliding_window import SLICES, Remaining, WindowHit
from proxy.storage.redis_client import FIRST_CALL_QUEUE, RedisStore, Script

# A window is stored as "slice:count slice:count ...", oldest first. Counts from more than a window ahead were written
# before the server's clock was set back. They would never expire, so they are dropped.
_HIT = Script("""
local SLICES = 10
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local admitted, windows = 1, {}
for i, stored in ipairs(redis.call('MGET', unpack(KEYS))) do
  local length = tonumber(ARGV[2 * i + 1])
  local window = {amount = tonumber(ARGV[2 * i]), length = length, slice = math.floor(now / length), total = 0}
  for slice, count in string.gmatch(stored or '', '(%d+):(%d+)') do
    if math.abs(slice - window.slice) <= SLICES then
      window[#window + 1] = {tonumber(slice), tonumber(count)}
      window.total = window.total + count
    end
  end
  if window.total >= window.amount then admitted = 0 end
  windows[i] = window
end
local reply = {admitted}
for i, window in ipairs(windows) do
  if admitted == 1 then
    local last = window[#window]
    if last and last[1] >= window.slice then
      last[2] = last[2] + 1
    else
      window[#window + 1] = {window.slice, 1}
    end
    window.total = window.total + 1
    local parts = {}
    for j, counted in ipairs(window) do parts[j] = counted[1] .. ':' .. counted[2] end
    redis.call('SET', KEYS[i], table.concat(parts, ' '), 'PX', window.length * (SLICES + 1))
  end
  local oldest = window[1]
  reply[#reply + 1] = math.max(0, window.amount - window.total)
  reply[#reply + 1] = oldest and math.ceil(((oldest[1] + SLICES + 1) * window.length - now) / 1000) or 0
end
return table.concat(reply, ' ')
""")


_UNDO = Script("""
for _, key in ipairs(KEYS) do
  local before, slice, count = string.match(redis.call('GET', key) or '', '^(.-)(%d+):(%d+)$')
  if count and tonumber(count) > 1 then
    redis.call('SET', key, before .. slice .. ':' .. (count - 1), 'KEEPTTL')
  elseif before and before ~= '' then
    redis.call('SET', key, string.sub(before, 1, -2), 'KEEPTTL')
  elseif count then
    redis.call('DEL', key)
  end
end
return 1
""")


class RedisWindowStore:
    """Windows that all workers share: one script call for each request, for any number of limits.

    All keys have the hash tag `{limits}`, so in a Redis Cluster one node counts for all callers. An atomic step needs
    one slot, and the windows of a user and of an address have none in common. The time is the server's, so clocks of
    workers may differ; tests give a *clock* in seconds.
    """

    def __init__(self, store: RedisStore, clock: Callable[[], float] | None = None) -> None:
        self._store = store
        self._clock = clock

    async def hit(self, hits: Sequence[WindowHit]) -> tuple[bool, Sequence[Remaining]]:
        args: list[int | str] = [int(self._clock() * 1000) if self._clock else ""]
        for limit, _ in hits:
            args += (limit.amount, limit.seconds * 1000 // SLICES)
        reply = await self._store.run(_HIT, _keys(hits), args, shed_above=FIRST_CALL_QUEUE)
        if not isinstance(reply, bytes):
            raise StoreAway(reason="the limits script returned something else")
        admitted, *numbers = map(int, reply.split())
        return bool(admitted), list(zip(numbers[::2], numbers[1::2], strict=True))

    async def undo(self, hits: Sequence[WindowHit]) -> None:
        await self._store.run(_UNDO, _keys(hits), [])


def _keys(hits: Sequence[WindowHit]) -> list[str]:
    return [
        f"{{limits}}:{limit.name}:{limit.seconds}:{hashlib.sha256(key.encode()).hexdigest()}" for limit, key in hits
    ]
