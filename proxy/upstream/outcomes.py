"""What fal's answer, or its absence, means: for the caller and for the money. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from proxy.errors import (
    BadRequest,
    JobNotFound,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Refusal,
    RunFailed,
    TransportError,
    Unavailable,
    UpstreamFailed,
)
from proxy.fal_api import headers
from proxy.fal_api.operations import Action
from proxy.http.client.messages import UpstreamResponse
from proxy.http.fields import Fields, by_name, first
from proxy.upstream.secret_filter import Sieve


class Outcome(StrEnum):
    """What became of a submit or run, as far as money goes; a read only ever is one of the first two."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"
    NOT_SENT = "not-sent"
    UNKNOWN = "unknown"


class Relayed(NamedTuple):
    """fal's answer, fit to be shown to a caller once its ids are rewritten. *units* are fal's x-fal-billable-units."""

    outcome: Outcome
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    units: float | None = None


MAX_BODY = 16 * 1024 * 1024  # of an answer; four large pictures as data URIs stay below it
MAX_ERROR_BODY = 64 * 1024
MAX_RETRY_AFTER = 300  # seconds; fal's word for it is not trusted beyond five minutes
_JSON_TYPE = re.compile(rb"application/(?:[a-z.+-]+\+)?json(?:\s*;.*)?", re.IGNORECASE)
EVENT_STREAM_TYPE = re.compile(rb"text/event-stream(?:\s*;[\t -~]*)?", re.IGNORECASE)
# Media and data, but no page and no picture that can hold a script: a browser must not show one under our name.
_RUN_STREAM_TYPE = re.compile(
    rb"(?:text/event-stream|application/(?:[a-z.+-]+\+)?json|application/(?:octet-stream|x-ndjson|jsonl)"
    rb"|audio/[a-z0-9.+-]+|video/[a-z0-9.+-]+|image/(?:png|jpeg|webp|gif|avif))(?:\s*;[\t -~]*)?",
    re.IGNORECASE,
)
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

    def run(self, response: UpstreamResponse) -> Relayed:
        """As a submit, but a refusal is the model's own failure, and so is a 5xx that fal itself gives the type of.

        Raises RunFailed for that one, and OutcomeUnknown for any other 5xx: a run is sent once.
        """
        named = headers.from_fal(by_name(response.headers))
        told = any(name == b"x-fal-error-type" for name, _ in named)
        if (
            response.status >= 500
            and response.status != 503
            and told
            and self._is_presentable(response, MAX_ERROR_BODY)
        ):
            raise RunFailed(reason=f"fal answered {response.status} to a run")
        relayed = self.submit(response)
        if relayed.outcome is Outcome.ACCEPTED or response.status == 404:  # no such model: nothing ran
            return relayed
        return relayed._replace(outcome=Outcome.FAILED)

    def withholds(self, content: bytes) -> bool:
        """Whether *content* holds what no answer may."""
        for canary in self._canaries:  # noqa: SIM110 a generator would cost as much again
            if canary in content:
                return True
        return False

    def sieve(self) -> Sieve:
        return Sieve(self._canaries)

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
        named, body = by_name(response.headers), response.body
        return _is_plain(named, _JSON_TYPE) and len(body) <= cap and not self.withholds(body)


def may_stream(action: Action, status: int, fields: Fields) -> bool:
    """Whether it is an answer that goes on as it comes; any other one is read whole and judged."""
    kinds = _RUN_STREAM_TYPE if action is Action.RUN_STREAM else EVENT_STREAM_TYPE
    return 200 <= status < 300 and _is_plain(by_name(fields), kinds)


def _is_plain(named: Mapping[bytes, bytes], kinds: re.Pattern[bytes]) -> bool:
    if named.get(b"content-encoding", b"identity").lower() != b"identity":
        return False
    return kinds.fullmatch(named.get(b"content-type", b"")) is not None


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
    """What a refusal of a submit or run says of the money."""
    match refusal:
        case RunFailed():
            return Outcome.FAILED
        case OutcomeUnknown():
            return Outcome.UNKNOWN
        case NotSent():
            return Outcome.NOT_SENT
        case _:
            return Outcome.REFUSED


def retry_after(response: UpstreamResponse) -> int:
    raw = first(response.headers, b"retry-after") or b""
    return min(max(int(raw), 1), MAX_RETRY_AFTER) if re.fullmatch(rb"[0-9]{1,9}", raw) else 1


def _relayed(outcome: Outcome, status: int, response: UpstreamResponse) -> Relayed:
    named = by_name(response.headers)
    units = named.get(b"x-fal-billable-units")
    return Relayed(outcome, status, headers.from_fal(named), response.body, None if units is None else _units(units))


def _units(raw: bytes) -> float | None:
    return float(raw) if re.fullmatch(rb"[0-9]{1,9}(?:\.[0-9]{1,9})?", raw) else None
