"""Checks of the server's settings and of the schema, at start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from proxy.billing.ledger.redis.replies import expect
from proxy.billing.ledger.redis.scripts.admin import GET_OR_SET, INFO
from proxy.billing.ledger.redis.scripts.library import SCHEMA
from proxy.billing.ledger.redis.upgrade import upgrade
from proxy.storage.redis_client import Script

Run = Callable[[Script, list[bytes | str | int]], Awaitable[object]]


async def check(run: Run, *, allow_eviction: bool, now: float) -> None:
    """Raises ValueError for a server that may evict keys, and for another schema. Raises StoreAway."""
    policy = (await _info(run)).get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and not allow_eviction:
        raise ValueError(
            f"the store's maxmemory-policy is {policy}, so it may drop what was spent; set it to noeviction, "
            "or set ledger.allow_eviction = true"
        )
    if not await run(GET_OR_SET, ["schema", ""]):
        await upgrade(run, now=now)
    schema = expect(bytes, await run(GET_OR_SET, ["schema", SCHEMA])).decode()
    if schema != SCHEMA:
        raise ValueError(f"the store's ledger has schema {schema}, and this version reads schema {SCHEMA}")


async def warnings(run: Run) -> tuple[str, ...]:
    """Returns the settings of the server that may lose data. Raises StoreAway."""
    info = await _info(run)
    return tuple(text for (name, safe), text in _WARNINGS.items() if info.get(name, safe) != safe)


async def _info(run: Run) -> Mapping[str, str]:
    text = expect(bytes, await run(INFO, [])).decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


_WARNINGS = {
    ("maxmemory_policy", "noeviction"): "maxmemory-policy is not noeviction: the store may drop what was spent",
    ("aof_enabled", "1"): "appendonly is off: a restart of the store loses what was spent since its last snapshot",
}
