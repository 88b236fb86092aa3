"""Removal of what the Redis ledger stores of a user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.billing.ledger.jobs import FORGOTTEN, ForgottenUser
from proxy.billing.ledger.redis.arguments import Args
from proxy.billing.ledger.redis.dump import keys
from proxy.billing.ledger.redis.replies import expect
from proxy.billing.ledger.redis.scripts.admin import FORGET, MOVE_DAY
from proxy.billing.ledger.redis.scripts.rows import COMMAND
from proxy.storage.redis_client import Script

_LINES = 1000  # of a day, in one step


async def forget(run: Callable[[Script, Args], Awaitable[object]], user: ForgottenUser) -> int:
    """Removes calls, answers and credits in one step, then moves the sums of days.

    Returns the number of open calls; if any, nothing was changed. Raises StoreAway.
    """
    count = int(expect(int, await run(FORGET, [user.caller, int(user.spends), *user.accounts])))
    if count:
        return count
    async for key in keys(run):
        if key.startswith("day:"):
            await _move(run, key, user.caller)
    return 0


async def _move(run: Callable[[Script, Args], Awaitable[object]], key: str, caller: str) -> None:
    cursor: bytes | int = 0
    while cursor != b"0":
        args: Args = ["HSCAN", key, cursor, "MATCH", f"{caller} *", "COUNT", _LINES]
        cursor, found = expect(list, await run(COMMAND, args))
        for line in found[::2]:
            endpoint = line.decode().partition(" ")[2]
            await run(MOVE_DAY, [key, line, f"{FORGOTTEN} {endpoint}"])
