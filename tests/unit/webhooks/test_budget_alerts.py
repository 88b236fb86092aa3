from __future__ import annotations

import asyncio
import json

from proxy.auth.caller import Caller
from proxy.billing.ledger.interface import Crossing
from proxy.errors import Unavailable
from proxy.telemetry.counters import Counter
from proxy.webhooks.budget_alerts import EVENT, BudgetAlerts
from proxy.webhooks.sender import DeliveryResult

ALICE = Caller("https://app.example.com", "alice", "a" * 64, frozenset(), 0.0, {})
CROSSING = Crossing("daily", f"daily:{'a' * 64}", 80, 5_000_000)


class LogLines:
    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def write(self, line: dict[str, object]) -> None:
        self.lines.append(line)


class Sender:
    """Takes deliveries, or fails them with *error*."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[str, dict[str, object]]] = []
        self.error = error

    async def deliver(self, message_id: str, body: bytes) -> DeliveryResult:
        self.sent.append((message_id, json.loads(body)))
        if self.error is not None:
            raise self.error
        return DeliveryResult.DELIVERED


def alerts(sender: Sender | None) -> tuple[BudgetAlerts, LogLines, Counter]:
    journal, counter = LogLines(), Counter("thresholds", "Thresholds.", ("budget", "percent"))
    made = BudgetAlerts(counter, journal, clock=lambda: 1_795_000_000.0)  # type: ignore[arg-type]
    made.sender = sender  # type: ignore[assignment]
    return made, journal, counter


async def settled(made: BudgetAlerts) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    await made.aclose()


async def test_the_app_is_notified() -> None:
    """The webhook names budget, percentage and the user; each has an id of its own."""
    sender = Sender()
    made, journal, _ = alerts(sender)
    made.report(CROSSING, ALICE)
    made.report(CROSSING, ALICE)
    await settled(made)

    assert [body for _, body in sender.sent] == [
        {
            "type": EVENT,
            "timestamp": "2026-11-18T11:06:40Z",
            "data": {
                "budget": "daily",
                "percent": 80,
                "limit": 5.0,
                "issuer": "https://app.example.com",
                "subject": "alice",
            },
        }
    ] * 2
    assert len({message_id for message_id, _ in sender.sent}) == 2
    assert [line["event"] for line in journal.lines] == ["budget_threshold"] * 2


async def test_without_webhooks_it_is_logged_and_counted() -> None:
    """The log names the user by its key, never by its subject."""
    made, journal, counter = alerts(None)
    made.report(CROSSING, ALICE)
    await settled(made)

    assert journal.lines == [{"event": "budget_threshold", "budget": "daily", "percent": 80, "user": "a" * 64}]
    assert counter.family().samples == (("_total", {"budget": "daily", "percent": "80"}, 1),)


async def test_a_webhook_that_fails_is_logged() -> None:
    """The request that crossed the threshold is not affected."""
    made, journal, _ = alerts(Sender(Unavailable(reason="it answered 500")))
    made.report(CROSSING, ALICE)
    await settled(made)

    assert [line["event"] for line in journal.lines] == ["budget_threshold", "warning"]
