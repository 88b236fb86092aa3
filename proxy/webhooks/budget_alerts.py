"""Alerts about budgets that reached a threshold: a metric, a log record and a signed webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

import orjson

from proxy.auth.caller import Caller
from proxy.billing.ledger.interface import Crossing
from proxy.billing.ledger.money import MICRO
from proxy.billing.shortfalls import rfc3339
from proxy.errors import Refusal
from proxy.telemetry.counters import Counter
from proxy.telemetry.json_log import JsonLogWriter
from proxy.webhooks.sender import WebhookSender

EVENT = "budget.threshold_reached"


class BudgetAlerts:
    """Alerts of one process. *counter* has the labels budget and percent. Set *sender* to notify the app.

    A webhook that the app does not take after all retries is logged and given up.
    """

    def __init__(self, counter: Counter, journal: JsonLogWriter, *, clock: Callable[[], float]) -> None:
        self.sender: WebhookSender | None = None
        self._counter = counter
        self._journal = journal
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()  # a task without a reference may vanish before its end

    def report(self, crossing: Crossing, caller: Caller) -> None:
        """Reports one crossing, which *caller*'s request caused."""
        self._counter.add(crossing.budget, str(crossing.percent))
        self._journal.write(
            {"event": "budget_threshold", "budget": crossing.budget, "percent": crossing.percent, "user": caller.key}
        )
        if self.sender is not None:
            task = asyncio.get_running_loop().create_task(self._send(self.sender, crossing, caller))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Gives up webhooks under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, sender: WebhookSender, crossing: Crossing, caller: Caller) -> None:
        message_id = f"msg_{uuid4().hex}"
        body = {
            "type": EVENT,
            "timestamp": rfc3339(self._clock()),
            "data": {
                "budget": crossing.budget,
                "percent": crossing.percent,
                "limit": crossing.limit / MICRO,
                "issuer": caller.issuer,
                "subject": caller.subject,
            },
        }
        try:
            await sender.deliver(message_id, orjson.dumps(body))
        except Refusal as error:
            self._journal.write(
                {"event": "warning", "message": f"no webhook about the budget {crossing.budget}: {error.reason}"}
            )
