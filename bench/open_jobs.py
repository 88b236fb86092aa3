"""Ledgers that hold open jobs before a run: those of long jobs, or of callers who never came back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from proxy.app.setup.billing.ledgers import build_ledger
from proxy.app.setup.components import Components, build_components
from proxy.auth.caller import Caller, caller_key
from proxy.billing.budgets import charges, slots
from proxy.billing.ledger.interface import Granted, Ledger, ReservationRequest
from proxy.config.loader import load

AT_ONCE = 200
USERS = 200


def fill(config: Path, environ: Mapping[str, str], count: int) -> None:
    """Reserves and accepts *count* jobs in the ledger of *config*, which no gateway has open.

    Raises RuntimeError where one is refused.
    """
    asyncio.run(_fill(build_components(load(config, environ)), count))


async def _fill(components: Components, count: int) -> None:
    ledger, now = build_ledger(components), time.time()
    await ledger.start(now=now)
    try:
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count))
            await asyncio.gather(*(_open(ledger, components, number, now) for number in numbers))
    finally:
        await ledger.aclose()
        if components.store is not None:
            await components.store.aclose()


async def _open(ledger: Ledger, components: Components, number: int, now: float) -> None:
    request = _request(components, number % USERS, now)
    if await ledger.reserve(f"open-{number}", request, now=now) != Granted():
        raise RuntimeError("an open job was refused")
    await ledger.accept(f"open-{number}", f"fal-ai/open/job-{number}", now=now)


def _request(components: Components, user: int, now: float) -> ReservationRequest:
    issuer, endpoint = components.config.sessions[0].issuer, components.config.endpoints[0].id
    caller = Caller(issuer, f"open-{user}", caller_key(issuer, f"open-{user}"), frozenset(), now + 3600, {})
    return ReservationRequest(
        caller=caller.key,
        endpoint=endpoint,
        amount=1,
        charges=charges(components.budgets, caller, endpoint, now),
        slots=slots(components.in_flight, caller, endpoint),
        ttl=86_400.0,
    )
