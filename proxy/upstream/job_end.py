"""Whether an answer of fal shows a job at its end, and how it ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from proxy.fal_api.operations import Action
from proxy.upstream.outcomes import Outcome, Relayed


@dataclass(frozen=True, slots=True)
class Ending:
    """*cancelled*: it never ran; *failed*: it ran, or could not, and gave no result. *units*: fal's billable units."""

    cancelled: bool = False
    failed: bool = False
    units: float | None = None


def ending_of(action: Action, relayed: Relayed) -> Ending | None:
    """None where the job may still run, as far as this answer goes.

    fal answers a status with 200 only at the end, a result of a failed job with the model's own error, and a cancel
    with 200 where the job was still in the queue (fal docs, queue).
    """
    match action:
        case Action.STATUS | Action.STATUS_STREAM if relayed.status == 200:  # an event comes as a status of 200
            return _completed(relayed)
        case Action.RESULT if relayed.outcome is Outcome.ACCEPTED:
            return Ending(units=relayed.units)
        case Action.RESULT if relayed.status != 400:  # "still in progress" is a 400 too
            return Ending(failed=True)
        case Action.CANCEL if relayed.status == 200:
            return Ending(cancelled=True)
        case _:
            return None


def _completed(relayed: Relayed) -> Ending | None:
    told = orjson.loads(relayed.body)
    if not isinstance(told, dict) or told.get("status") != "COMPLETED":
        return None
    return Ending(failed=bool(told.get("error")), units=relayed.units)
