"""End of a job, as an answer of fal's shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from proxy.fal_api.operations import Action
from proxy.upstream.outcomes import Outcome, UpstreamResult

# fal's error type of a job that its caller stopped: the queue has no state for it (fal docs, errors).
_CANCELLED = "client_cancelled"
_CANCELLED_FIELD = (b"x-fal-error-type", _CANCELLED.encode("ascii"))


@dataclass(frozen=True, slots=True)
class JobEnd:
    """End of a job. *failed*: it gave no result. *units*: fal's billable units.

    *cancelled*: it was stopped, without *failed* before it ran.
    """

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
            return JobEnd(cancelled=_CANCELLED_FIELD in result.headers, failed=True)
        case Action.CANCEL if result.status == 200:
            return JobEnd(cancelled=True)
        case _:
            return None


def _completed(result: UpstreamResult) -> JobEnd | None:
    body = orjson.loads(result.body)
    if not isinstance(body, dict) or body.get("status") != "COMPLETED":
        return None
    return completed_end(body, result.units)


def completed_end(body: Mapping[str, object], units: float | None = None) -> JobEnd:
    """Returns the end in a status of COMPLETED, which fal gives to failed and cancelled jobs too."""
    cancelled = body.get("error_type") == _CANCELLED
    return JobEnd(cancelled=cancelled, failed=cancelled or bool(body.get("error")), units=units)
