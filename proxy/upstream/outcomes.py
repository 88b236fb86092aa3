"""Results of calls to fal, and the refusals that stand for broken ones. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.errors import (
    NotSent,
    OutcomeUnknown,
    PoolExhausted,
    PoolFull,
    Refusal,
    RunFailed,
    TransportError,
    UpstreamFailed,
)


class Outcome(StrEnum):
    """Outcome of a call for the ledger. FAILED: the model itself failed. A read has the first three only."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"
    NOT_SENT = "not-sent"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class UpstreamResult:
    """fal's answer, fit for a caller once its ids are rewritten. *units* are fal's x-fal-billable-units."""

    outcome: Final[Outcome]
    status: Final[int]
    headers: Final[tuple[tuple[bytes, bytes], ...]]
    body: Final[bytes]
    units: Final[float | None] = None


@dataclass(slots=True)
class Accepted:
    """fal's answer to an accepted submit, parsed: *job_id* is fal's own id of the job.

    *key_alias* is the alias of the key that it was sent with.
    """

    job_id: Final[str]
    state: Final[str]
    position: Final[int | None]
    headers: Final[tuple[tuple[bytes, bytes], ...]] = ()
    key_alias: Final[str] = ""


def submit_error(error: TransportError) -> Refusal:
    """Returns the refusal for a broken submit or run. Once a byte was sent, the job may run."""
    if error.sent:
        return OutcomeUnknown(reason=str(error))
    return _not_sent(error)


def read_error(error: TransportError) -> Refusal:
    """Returns the refusal for a broken read, which the caller may repeat."""
    if error.sent:
        return UpstreamFailed(reason=str(error))
    return _not_sent(error)


def refusal_outcome(refusal: Refusal) -> Outcome:
    """Returns the outcome that a refusal of a submit or run means for the ledger."""
    match refusal:
        case RunFailed():
            return Outcome.FAILED
        case OutcomeUnknown():
            return Outcome.UNKNOWN
        case NotSent() | PoolFull():
            return Outcome.NOT_SENT
        case _:
            return Outcome.REFUSED


def _not_sent(error: TransportError) -> Refusal:
    kind = PoolFull if isinstance(error, PoolExhausted) else NotSent
    return kind(reason=str(error))
