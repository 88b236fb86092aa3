"""Reconciler of one process, built on its ledger and its relay."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from proxy.app.setup.upstream.relay import Upstream
from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.gateway.reconciler import Reconciler
from proxy.http.client.messages import UpstreamResponse
from proxy.telemetry.metrics import Telemetry
from proxy.upstream.job_end import JobEnd


class RelayReads:
    """Status requests of the gateway itself, through the relay."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def status(self, app: str, upstream_id: str, key_alias: str) -> UpstreamResponse:
        """Returns the job's status. A job whose key was removed is unknown, as it is to its caller."""
        relay = self._upstream.relay
        if key_alias not in self._upstream.account.keys:
            return UpstreamResponse(404, (), b"")
        return await relay.fetch(relay.status_request(app, upstream_id, key_alias))

    async def units(self, app: str, upstream_id: str, key_alias: str) -> float | None:
        return await self._upstream.relay.result_units(app, upstream_id, key_alias)

    def is_refused(self, key_alias: str) -> bool:
        return key_alias in self._upstream.account.key_causes

    def is_away(self) -> bool:
        return self._upstream.state != "ok"


def build_reconciler(
    ledger: Ledger,
    upstream: Upstream,
    settle: Callable[[str, JobEnd], Awaitable[None]],
    telemetry: Telemetry,
    *,
    reads_units: bool,
) -> Reconciler:
    """Builds the reconciler of all jobs in *ledger*, with its metrics."""
    reconciler = Reconciler(ledger, RelayReads(upstream), settle, reads_units=reads_units, clock=time.time)
    counts = reconciler.counts
    telemetry.counter(
        "reconciler_calls", "Status requests about jobs that no caller asked about.", lambda: counts.calls
    )
    telemetry.counter("reconciler_errors", "Such requests without a usable answer.", lambda: counts.errors)
    telemetry.counter("reconciler_settled", "Jobs settled by them.", lambda: counts.settled)
    telemetry.gauge("reconciler_lag_seconds", "Delay of the last first look at a job.", lambda: counts.lag, merge="max")
    if isinstance(ledger, SqliteLedger):
        telemetry.gauge("reconciler_due", "Jobs due for a status request.", lambda: ledger.count_due(time.time()))
    return reconciler
