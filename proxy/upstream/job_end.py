"""End of a job, as an answer of fal's shows it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from proxy.fal_api.operations import Action
from proxy.upstream.outcomes import Outcome, UpstreamResult


@dataclass(frozen=True, slots=True)
class JobEnd:
    """End of a job. *cancelled*: it never ran; *failed*: it gave no result. *units*: fal's billable units."""

    cancelled: bool = False
    failed: bool = False
    units: float | None = None


def job_end_from_status(action: Action, result: UpstreamResult) -> JobEnd | None:
    """Returns the end that *result* shows, or None where the job may still run.

    fal answers a status with 200 only at the end, and the result of a failed job with the model's own error. It
    answers a cancel with 200 where the job was still in the queue (fal docs, queue).
    """
    match action:
        case Action.STATUS | Action.STATUS_STREAM if result.status == 200:  # an event comes as a status of 200
            return _completed(result)
        case Action.RESULT if result.outcome is Outcome.ACCEPTED:
            return JobEnd(units=result.units)
        case Action.RESULT if result.outcome is Outcome.FAILED:
            return JobEnd(failed=True)
        case Action.CANCEL if result.status == 200:
            return JobEnd(cancelled=True)
        case _:
            return None


def _completed(result: UpstreamResult) -> JobEnd | None:
    body = orjson.loads(result.body)
    if not isinstance(body, dict) or body.get("status") != "COMPLETED":
        return None
    return JobEnd(failed=bool(body.get("error")), units=result.units)
