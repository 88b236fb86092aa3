"""Settlement of a reservation by the end of its call to fal."""

from __future__ import annotations

from types import TracebackType

from proxy.billing.ledger.money import MICRO
from proxy.billing.reservations import Accounting, Reservation
from proxy.errors import Refusal
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.job_end import JobEnd
from proxy.upstream.outcomes import Outcome, UpstreamResult, refusal_outcome


class PaidCall:
    """Block around the call to fal that a reservation pays for, and around the reading of its answer.

    It writes the time into *record*, and settles the reservation where the block ends with a Refusal. Any other
    exception leaves the reservation to the sweep, which counts it as spent.
    """

    __slots__ = ("_accounting", "_record", "_reservation", "_started")

    def __init__(self, accounting: Accounting, reservation: Reservation, record: AccessRecord) -> None:
        self._accounting = accounting
        self._reservation = reservation
        self._record = record

    async def __aenter__(self) -> None:
        self._started = self._record.clock()
        self._record.waits.count += 1
        trace, request = self._record.trace, self._reservation.request
        if trace is not None:
            if request is not None:
                trace.record_reserved(request.amount / MICRO)
            trace.enter("relay")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record = self._record
        record.waits.count -= 1
        record.upstream_ms = round((record.clock() - self._started) * 1000, 1)
        if not isinstance(error, Refusal):
            return
        record.outcome = outcome = refusal_outcome(error)
        if outcome is Outcome.FAILED:
            await self._accounting.settle_run(self._reservation, JobEnd(failed=True))
        else:
            await self._accounting.settle_submit(self._reservation, outcome)


async def settle_result(accounting: Accounting, reservation: Reservation, result: UpstreamResult) -> None:
    """Settles a call without a job by its answer: refused, failed or done."""
    if result.outcome is Outcome.REFUSED:
        await accounting.settle_submit(reservation, Outcome.REFUSED)
    else:
        await accounting.settle_run(reservation, JobEnd(failed=result.outcome is Outcome.FAILED, units=result.units))


def end_note(end: JobEnd) -> str:
    """Returns how a job ended, for the trace of a request that saw its end."""
    if end.cancelled:
        return "the job was cancelled"
    return "the job failed" if end.failed else "the job is done"
