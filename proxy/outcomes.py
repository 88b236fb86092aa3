"""What fal's answer, or its absence, means: for the caller and for the money. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from proxy import headers
from proxy.errors import (
    BadRequest,
    JobNotFound,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Refusal,
    TransportError,
    Unavailable,
    UpstreamFailed,
)
from proxy.upstream import UpstreamResponse


class Outcome(StrEnum):
    """What became of a submit, as far as money goes; all else only ever is one of the first two."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_SENT = "not-sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Relayed:
    """fal's answer, fit to be shown to a caller once its ids are rewritten. *units* are fal's x-fal-billable-units."""

    outcome: Outcome
    status: int
    headers: headers.Fields
    body: bytes
    units: float | None = None


MAX_BODY = 16 * 1024 * 1024  # of an answer; four large pictures as data URIs stay below it
MAX_ERROR_BODY = 64 * 1024
MAX_RETRY_AFTER = 300  # seconds; fal's word for it is not trusted beyond five minutes
_JSON_TYPE = re.compile(rb"application/(?:[a-z.+-]+\+)?json(?:\s*;.*)?", re.IGNORECASE)
# The Python client replays 408 and 409 up to ten times; a definite refusal must not look like one.
_REFUSED_AS = {408: 400, 409: 400}


class Judge:
    """*canaries*: byte strings no answer may hold (FAL_KEY and its secret half); one that does is withheld."""

    def __init__(self, canaries: frozenset[bytes]) -> None:
        self._canaries = canaries

    def submit(self, response: UpstreamResponse) -> Relayed:
        """Raises OutcomeUnknown wherever the job may run although no usable answer came."""
        status = response.status
        if 200 <= status < 300:
            if not self._is_presentable(response, MAX_BODY):
                raise OutcomeUnknown(reason="fal accepted the submit with an answer that cannot be read")
            return _relayed(Outcome.ACCEPTED, status, response)
        if 400 <= status < 500:
            return self._refused(response, _REFUSED_AS.get(status, status))
        if status == 503 and self._is_presentable(response, MAX_ERROR_BODY):
            raise Unavailable(retry_after=retry_after(response), reason="fal refused the submit with 503")
        # A gateway in between may have lost the real answer of a job that runs.
        raise OutcomeUnknown(reason=f"fal answered {status} to a submit")

    def read(self, response: UpstreamResponse) -> Relayed:
        """Status, result and cancel. Raises UpstreamFailed where the caller may simply ask again."""
        status = response.status
        if status == 404:
            raise JobNotFound(reason="fal does not know the job, or no more")
        if 400 <= status < 500:
            return self._refused(response, status)
        if not 200 <= status < 300 or not self._is_presentable(response, MAX_BODY):
            raise UpstreamFailed(reason=f"fal answered a read with {status}, or not with plain JSON")
        return _relayed(Outcome.ACCEPTED, status, response)

    def issued(self, response: UpstreamResponse) -> Relayed:
        """An upload slot or a token. It is nobody's until it is here, so every failure may be asked again."""
        status = response.status
        if 400 <= status < 500 and status != 404:
            return self._refused(response, _REFUSED_AS.get(status, status))
        if not 200 <= status < 300 or not self._is_presentable(response, MAX_ERROR_BODY):
            raise UpstreamFailed(reason=f"fal answered a REST request with {status}, or not with plain JSON")
        return _relayed(Outcome.ACCEPTED, status, response)

    def _refused(self, response: UpstreamResponse, status: int) -> Relayed:
        """A 4xx is the model's or fal's own word to the caller, kept where it is fit to be shown."""
        if status == 429:
            raise RateLimited(
                "The model is busy",
                retry_after=retry_after(response),
                error_type="upstream_rate_limited",
                reason="fal answered 429",
            )
        if status in (401, 403):
            # fal's complaint about our key or balance is the operator's business, never the caller's.
            raise UpstreamFailed(reason=f"{KEY_REFUSED} ({status})")
        if not self._is_presentable(response, MAX_ERROR_BODY):
            raise BadRequest("fal refused the request", error_type="upstream_refused", reason=f"fal answered {status}")
        return _relayed(Outcome.REFUSED, status, response)

    def _is_presentable(self, response: UpstreamResponse, cap: int) -> bool:
        kind = headers.first(response.headers, b"content-type") or b""
        encoding = headers.first(response.headers, b"content-encoding") or b"identity"
        return (
            _JSON_TYPE.fullmatch(kind) is not None
            and encoding.lower() == b"identity"
            and len(response.body) <= cap
            and not any(canary in response.body for canary in self._canaries)
        )


KEY_REFUSED = "fal refused our key"


def submit_broke(error: TransportError) -> Refusal:
    """Once a byte was handed to the socket nobody can tell whether the job runs."""
    if error.sent:
        return OutcomeUnknown(reason=str(error))
    return NotSent(reason=str(error))


def read_broke(error: TransportError) -> Refusal:
    if error.sent:
        return UpstreamFailed(reason=str(error))
    return NotSent(reason=str(error))


def outcome_of(refusal: Refusal) -> Outcome:
    """What a refusal of a submit says of the money."""
    match refusal:
        case OutcomeUnknown():
            return Outcome.UNKNOWN
        case NotSent():
            return Outcome.NOT_SENT
        case _:
            return Outcome.REFUSED


def retry_after(response: UpstreamResponse) -> int:
    raw = headers.first(response.headers, b"retry-after") or b""
    return min(max(int(raw), 1), MAX_RETRY_AFTER) if re.fullmatch(rb"[0-9]{1,9}", raw) else 1


def _relayed(outcome: Outcome, status: int, response: UpstreamResponse) -> Relayed:
    return Relayed(outcome, status, headers.from_fal(response.headers), response.body, _units(response))


def _units(response: UpstreamResponse) -> float | None:
    raw = headers.first(response.headers, b"x-fal-billable-units") or b""
    return float(raw) if re.fullmatch(rb"[0-9]{1,9}(?:\.[0-9]{1,9})?", raw) else None
