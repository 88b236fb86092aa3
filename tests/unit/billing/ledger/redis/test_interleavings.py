"""Any interleaving of steps on the Redis ledger, against the model of the ledger's properties."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis
from support.redis_ledger import opened
from unit.billing.ledger.test_ledger_properties import build_machine

from proxy.billing.ledger.interface import Ledger

EXAMPLES = int(os.environ.get("EXAMPLES", "8"))  # more by hand


def test_any_interleaving(valkey: str, admin: Redis) -> None:
    """Reservations and their ends, in any order and as clocks move, agree with the model and its limits."""

    @asynccontextmanager
    async def empty() -> AsyncIterator[Ledger]:
        admin.flushall()
        async with opened(valkey) as ledger:
            yield ledger

    run_state_machine_as_test(
        build_machine(empty),
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
