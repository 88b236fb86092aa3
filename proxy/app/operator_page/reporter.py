"""Reporter of one worker: its history, and its reports for the operator page."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress

from proxy.app.operator_page.history import DAY, MINUTE, RANGES, History, Totals, status_class
from proxy.app.operator_page.ledger_view import LedgerView
from proxy.app.operator_page.report import (
    Gauges,
    LedgerState,
    Pause,
    RecentRequest,
    Report,
    StoreState,
)
from proxy.app.runtime.process_state import ProcessState
from proxy.app.runtime.serving import Serving
from proxy.telemetry.access_record import AccessRecord, milliseconds

_LEDGER_INTERVAL = 0.2  # seconds between two questions to a ledger that has not started
_DEFECT = "internal_error"  # its reason may quote a value of a request, so it is in the log only


class Reporter:
    """Reports on one process. *serving* returns what serves requests now; *clock* gives unix seconds."""

    def __init__(
        self, state: ProcessState, serving: Callable[[], Serving], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._state = state
        self._serving = serving
        self._clock = clock
        self._started = clock()
        self.ledger = LedgerView(state.ledger, clock=clock, monotonic=time.monotonic)
        self._history = History(self._totals)

    def _totals(self) -> Totals:
        telemetry = self._state.telemetry
        return Totals(telemetry.statuses(), telemetry.refusals())

    async def run(self) -> None:
        """Takes a reading at each full minute, until it is cancelled."""
        await self._wait_for_ledger()
        while True:
            spend = await self.ledger.spend()
            self._history.sample(self._clock(), None if spend is None else spend.committed)
            await asyncio.sleep(MINUTE - self._clock() % MINUTE)

    async def _wait_for_ledger(self) -> None:
        """Waits for the first answer of a ledger that starts too, since the spend counts from there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MINUTE):
                while await self.ledger.spend() is None:  # noqa: ASYNC110 nothing is announced
                    await asyncio.sleep(_LEDGER_INTERVAL)

    def report(self, *, has_ended: bool = False) -> Report:
        """Returns the report of this moment."""
        now, telemetry = self._clock(), self._state.telemetry
        today = self._history.today(now)
        offset, committed = now - time.monotonic(), self.ledger.committed(now)
        return Report(
            pid=os.getpid(),
            started=self._started,
            day=int(now // DAY),
            total=sum(telemetry.statuses().values()),
            statuses=today.statuses,
            refusals=today.refusals,
            bars={name: self._history.bars(name, now, committed) for name in RANGES},
            waits={action: list(waits) for action, waits in telemetry.recent.waits.items()},
            recent=[self._recent(record, offset) for record in telemetry.recent.records],
            gauges=None if has_ended else self._gauges(),
        )

    def _recent(self, record: AccessRecord, offset: float) -> RecentRequest:
        """Returns one request. *offset* turns monotonic seconds into unix seconds."""
        reason = None if record.error_type == _DEFECT else record.reason
        keys = self._serving().components.store_keys
        return RecentRequest(
            at=record.started + offset,
            request_id=record.request_id,
            method=record.method,
            action=record.action or "none",
            endpoint=record.endpoint,
            user=None if record.caller is None else keys.key(record.caller),
            status=record.status,
            kind=status_class(str(record.status)),
            error_type=record.error_type,
            reason=None if reason is None else self._state.journal.redacted(reason),
            outcome=None if record.outcome is None else str(record.outcome),
            would_deny=", ".join(record.observed) or None,
            ended=record.ended,
            fal_ms=record.upstream_ms,
            total_ms=milliseconds(record.seconds),
            response_bytes=record.response_bytes,
        )

    def _gauges(self) -> Gauges:
        state, serving = self._state, self._serving()
        store, stats, account = state.store, state.ledger.stats(), serving.upstream.account
        return Gauges(
            active=state.telemetry.active,
            streams=len(state.streams),
            connections=len(state.connections.connections),
            draining=serving.readiness.draining,
            breakers={breaker.name: breaker.is_open for breaker in serving.upstream.breakers},
            keys=[key.label for key in account.keys.values()],
            pauses=[
                Pause(key=account.keys[one.alias].label, scope=one.scope, cause=one.cause) for one in account.pauses
            ],
            store=None
            if store is None
            else StoreState(breaker_open=store.breaker_is_open, failures=store.failures, pending=store.pending),
            ledger=LedgerState(failures=stats.failures, queue=stats.queue, notices=state.ledger.notices()),
        )
