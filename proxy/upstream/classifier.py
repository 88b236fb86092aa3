"""Classification of fal's answers: what each one means for the caller and for the money. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import orjson

from proxy.errors import (
    BadRequest,
    JobNotFound,
    OutcomeUnknown,
    RateLimited,
    RunFailed,
    ServicePaused,
    Unavailable,
    UpstreamFailed,
)
from proxy.fal_api import headers
from proxy.fal_api.operations import Action
from proxy.http.client.messages import UpstreamResponse
from proxy.http.fields import Fields, by_name, first
from proxy.upstream.account.refusal import AccountRefusal, account_refusal, key_refusal
from proxy.upstream.account.state import PAUSE
from proxy.upstream.outcomes import Accepted, Outcome, UpstreamResult
from proxy.upstream.retry_after import parse_retry_after
from proxy.upstream.secret_filter import SecretFilter, SecretSearch

MAX_BODY = 16 * 1024 * 1024  # of an answer; four large pictures as data URIs stay below it
MAX_ERROR_BODY = 64 * 1024
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
# Statuses of a model that a client would take for the gateway's own: a bad session, a replay, an unknown job.
_MODEL_FAILED_AS = {401: 400, 403: 400, 404: 400, 408: 400, 409: 400, 429: 400}

_UNITS = b"x-fal-billable-units"

FieldMap = Mapping[bytes, bytes]  # the first field of each name


class UnmarkedFailure(UpstreamFailed):
    """A 5xx result in JSON that does not show the failing side. The status of its job shows it."""

    def __init__(self, result: UpstreamResult) -> None:
        super().__init__(reason=f"fal answered a result with {result.status} and no error type")
        self.result = result


class ResponseClassifier:
    """Classifier of answers, none of which may hold one of *secrets* (each FAL_KEY, its secret half).

    *clock* in unix seconds. With *expose_units* fal's billable units are passed on to callers. *pause* in seconds is
    the Retry-After of a refusal of our account.
    """

    def __init__(
        self,
        secrets: SecretSearch,
        *,
        clock: Callable[[], float],
        expose_units: bool = False,
        pause: int = int(PAUSE),
    ) -> None:
        self._pause = pause
        self._secrets = secrets
        self._clock = clock
        self._expose_units = expose_units

    def classify_submit(self, response: UpstreamResponse) -> Accepted | UpstreamResult:
        """Returns the job of an accepted submit, or fal's refusal.

        Raises OutcomeUnknown where the job may run although no usable answer came, Unavailable, RateLimited,
        ServicePaused, BadRequest.
        """
        fields = by_name(response.headers)
        if not 200 <= response.status < 300:
            return self._not_accepted(response, fields, account_refusal)
        if not self._is_presentable(fields, response.body, MAX_BODY):
            raise OutcomeUnknown(reason="fal accepted the submit with an answer that cannot be read")
        try:
            body = orjson.loads(response.body)
        except orjson.JSONDecodeError as error:
            raise OutcomeUnknown(reason="fal accepted the submit with an answer that is not JSON") from error
        job_id = body.get("request_id") if isinstance(body, dict) else None
        if not isinstance(job_id, str):
            raise OutcomeUnknown(reason="fal accepted the submit but its answer has no job id")
        state, position = body.get("status"), body.get("queue_position")
        return Accepted(
            job_id,
            state if isinstance(state, str) else "IN_QUEUE",
            position if isinstance(position, int) else None,
            headers.from_fal(fields),
        )

    def classify_run(self, response: UpstreamResponse) -> UpstreamResult:
        """As a submit, but a 4xx is the model's own failure, and so is a 5xx with fal's own error type.

        Raises RunFailed for that 5xx, and OutcomeUnknown for any other: a run is sent once.
        """
        fields = by_name(response.headers)
        status, body = response.status, response.body
        if 200 <= status < 300:
            if not self._is_presentable(fields, body, MAX_BODY) or not _is_json(body):
                raise OutcomeUnknown(reason="fal answered a run with an answer that cannot be read")
            return self._result(Outcome.ACCEPTED, status, fields, body)
        forwarded = headers.from_fal(fields)
        typed = any(name == b"x-fal-error-type" for name, _ in forwarded)
        if status >= 500 and status != 503 and typed and self._is_presentable(fields, body, MAX_ERROR_BODY):
            raise RunFailed(reason=f"fal answered {status} to a run")
        result = self._not_accepted(response, fields, key_refusal)
        # 404: there is no such model, so nothing ran.
        return result if status == 404 else replace(result, outcome=Outcome.FAILED)

    def classify_read(self, response: UpstreamResponse) -> UpstreamResult:
        """Status and cancel. Raises UpstreamFailed where the caller may repeat the request, JobNotFound."""
        fields = by_name(response.headers)
        status = response.status
        if status == 404:
            raise JobNotFound(reason="fal does not know the job, or no more")
        if 400 <= status < 500:
            return self._refused(response, fields, status, account_refusal)
        if not 200 <= status < 300 or not self._is_presentable(fields, response.body, MAX_BODY):
            raise UpstreamFailed(reason=f"fal answered a read with {status}, or not with plain JSON")
        return self._result(Outcome.ACCEPTED, status, fields, response.body)

    def classify_result(self, response: UpstreamResponse) -> UpstreamResult:
        """The result of a job, which for a failed job is the model's own error (fal docs, queue).

        Raises UpstreamFailed for anything that the model cannot have written, UnmarkedFailure, JobNotFound,
        RateLimited, ServicePaused.
        """
        fields = by_name(response.headers)
        status, body = response.status, response.body
        if not self._is_presentable(fields, body, MAX_BODY) or not _is_json(body):
            raise UpstreamFailed(reason=f"fal answered a result with {status}, or not with plain JSON")
        if 200 <= status < 300:
            return self._result(Outcome.ACCEPTED, status, fields, body)
        if status < 400:
            raise UpstreamFailed(reason=f"fal answered a result with {status}")
        return self._failed_result(response, fields)

    def classify_issue(self, response: UpstreamResponse) -> UpstreamResult:
        """An upload slot or a token. Nothing is billed for it, so every failure may be repeated."""
        fields = by_name(response.headers)
        status = response.status
        if 400 <= status < 500 and status != 404:
            return self._refused(response, fields, _REFUSED_AS.get(status, status), account_refusal)
        if not 200 <= status < 300 or not self._is_presentable(fields, response.body, MAX_ERROR_BODY):
            raise UpstreamFailed(reason=f"fal answered a REST request with {status}, or not with plain JSON")
        return self._result(Outcome.ACCEPTED, status, fields, response.body)

    def contains_secret(self, content: bytes) -> bool:
        """Returns True where *content* holds a secret."""
        return content in self._secrets

    def secret_filter(self) -> SecretFilter:
        """Returns a filter for content that is passed on chunk by chunk."""
        return SecretFilter(self._secrets)

    def _not_accepted(
        self, response: UpstreamResponse, fields: FieldMap, refusal_in: Callable[[int, bytes], AccountRefusal | None]
    ) -> UpstreamResult:
        status = response.status
        if 400 <= status < 500:
            return self._refused(response, fields, _REFUSED_AS.get(status, status), refusal_in)
        if status == 503 and self._is_presentable(fields, response.body, MAX_ERROR_BODY):
            raise Unavailable(retry_after=self._retry_after(fields), reason="fal refused the call with 503")
        # A gateway in between may have lost the real answer of a job that runs.
        raise OutcomeUnknown(reason=f"fal answered {status} to a submit or run")

    def _refused(
        self,
        response: UpstreamResponse,
        fields: FieldMap,
        status: int,
        refusal_in: Callable[[int, bytes], AccountRefusal | None],
    ) -> UpstreamResult:
        """A 4xx is the model's or fal's own message to the caller, passed on where it is fit to be shown."""
        if status == 429:
            raise self._rate_limited(fields)
        self._check_account(refusal_in(status, response.body), response)
        if status in (401, 403):
            if refusal_in is not key_refusal:
                # fal refused us with a body that is not its own infrastructure's; the caller can do nothing about it.
                raise UpstreamFailed(reason=f"fal answered {status}")
            status = 400
        if not self._is_presentable(fields, response.body, MAX_ERROR_BODY):
            raise BadRequest("fal refused the request", error_type="upstream_refused", reason=f"fal answered {status}")
        return self._result(Outcome.REFUSED, status, fields, response.body)

    def _failed_result(self, response: UpstreamResponse, fields: FieldMap) -> UpstreamResult:
        status = response.status
        self._check_account(key_refusal(status, response.body), response)
        body = orjson.loads(response.body)
        detail = body.get("detail") if isinstance(body, dict) else None
        marked = detail is not None or b"x-fal-error-type" in fields
        if status == 404 and isinstance(body, dict) and body.get("status") == "NOT_FOUND":
            raise JobNotFound(reason="fal does not know the job, or no more")
        if status == 429 and not marked:
            raise self._rate_limited(fields)
        failed = self._result(Outcome.FAILED, _MODEL_FAILED_AS.get(status, min(status, 500)), fields, response.body)
        if status >= 500 and not marked:
            raise UnmarkedFailure(failed)
        if status == 400 and not isinstance(detail, list) and b"x-fal-error-type" not in fields:
            # "Request is still in progress" is a 400 too, and no document promises its words.
            return replace(failed, outcome=Outcome.REFUSED)
        return failed

    def _check_account(self, refusal: AccountRefusal | None, response: UpstreamResponse) -> None:
        if refusal is not None:
            secret = self.contains_secret(response.body)
            evidence = "" if secret else response.body[:200].decode("utf-8", "replace")
            reason = f"fal refuses our account ({refusal}, {response.status})"
            raise ServicePaused(retry_after=self._pause, cause=refusal, reason=reason, evidence=evidence)

    def _rate_limited(self, fields: FieldMap) -> RateLimited:
        return RateLimited(
            "The model is busy",
            retry_after=self._retry_after(fields),
            error_type="upstream_rate_limited",
            reason="fal answered 429",
        )

    def _retry_after(self, fields: FieldMap) -> int:
        return parse_retry_after(fields.get(b"retry-after"), self._clock())

    def _result(self, outcome: Outcome, status: int, fields: FieldMap, body: bytes) -> UpstreamResult:
        forwarded = headers.from_fal(fields)
        raw = fields.get(_UNITS)
        if raw is None or (units := _units(raw)) is None:
            return UpstreamResult(outcome, status, forwarded, body)
        if self._expose_units:
            forwarded = (*forwarded, (_UNITS, raw))
        return UpstreamResult(outcome, status, forwarded, body, units)

    def _is_presentable(self, fields: FieldMap, body: bytes, cap: int) -> bool:
        return _is_plain(fields, _JSON_TYPE) and len(body) <= cap and not self.contains_secret(body)


def may_stream(action: Action, status: int, fields: Fields) -> bool:
    """Returns True for an answer that is passed on by chunks; any other one is read whole and classified."""
    kinds = _RUN_STREAM_TYPE if action is Action.RUN_STREAM else EVENT_STREAM_TYPE
    return 200 <= status < 300 and _is_plain(by_name(fields), kinds)


def _is_plain(fields: FieldMap, kinds: re.Pattern[bytes]) -> bool:
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        return False
    return kinds.fullmatch(fields.get(b"content-type", b"")) is not None


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def billable_units(fields: Fields) -> float | None:
    """Returns the billable units among the *fields* of an answer, None where fal gives none."""
    return _units(first(fields, _UNITS))


def _units(raw: bytes | None) -> float | None:
    return None if raw is None or re.fullmatch(rb"[0-9]{1,9}(?:\.[0-9]{1,9})?", raw) is None else float(raw)
