"""Every way to say no.

    FalProxyError
    ├── ConfigError                   start-up only: all problems of a configuration at once
    ├── ExpressionError               an operator's expression that does not compile, or has no result for a value
    ├── MalformedJson                 text that is not strict JSON; whoever parsed it says what that means
    ├── ClientGone                    the caller left before their request was whole or answered; nobody to answer
    ├── TransportError                the upstream exchange broke; `sent` and `received` say how far it got
    │   ├── ConnectFailed             refused, DNS, TLS or connect deadline: nothing was sent
    │   ├── PoolExhausted             no free connection in time: nothing was sent
    │   ├── ExchangeBroken            reset, closed or cut mid-way
    │   ├── DeadlineExceeded          the whole exchange took too long
    │   ├── MalformedResponse         not HTTP/1.1, or more bytes than one answer
    │   └── ResponseTooLarge          head or body over its cap
    └── Refusal                       answered to the caller; carries status, error_type and headers
        ├── BadRequest            400   malformed framing, target, query or JSON
        ├── Unauthenticated       401   no session or a bad one; constant body, the reason stays in the log
        ├── BudgetExceeded        402   an allowance is spent (clients do not replay a 402)
        ├── Forbidden             403   endpoint, action or scope not granted
        ├── NotFound              404   no such route
        │   └── JobNotFound       404   foreign, unknown, expired and malformed job ids alike
        ├── MethodNotAllowed      405
        ├── RequestTimeout        408   the request came too slowly; nothing was done with it
        ├── TargetNotFal          412   the target URL is not one of fal's (fal's proxy formula)
        ├── ContentTooLarge       413
        ├── TargetTooLong         414
        ├── UnsupportedMediaType  415
        ├── ValidationFailed      422   schema or policy, in fal's detail[{loc, msg, type}] shape
        ├── RateLimited           429   a short window or the jobs in flight; Retry-After
        ├── HeadTooLarge          431
        ├── InternalError         500   a fault of ours, logged where it happened
        ├── RunFailed             500   the model, or fal around it, failed a run for certain; clients do not replay it
        ├── UpstreamFailed        502   a GET that failed upstream; safe to replay
        ├── Unavailable           503   certainly not done; safe to replay; Retry-After
        │   ├── NotSent           503   no byte of the request left for fal
        │   ├── StoreAway         503   the limit or ledger store did not answer in time
        │   └── Overloaded        503   this worker is full, or draining
        └── OutcomeUnknown        504   bytes of a submit were sent, no complete answer came

A leaf has one status. `answers.refused` is the only place that turns one into bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypedDict


class FalProxyError(Exception):
    """The one thing to catch for everything this package raises on purpose."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a configuration: the key it is at (`endpoints[0].id`) and what is wrong with it."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class ConfigError(FalProxyError):
    """A configuration that must not start, with every problem found in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class ExpressionError(FalProxyError, ValueError):
    """An operator's expression that does not compile, or has no result for a value.

    *detail* is the mistake alone; the message also has the expression, for the operator.
    """

    def __init__(self, detail: str, expression: str | None = None) -> None:
        super().__init__(detail if expression is None else f'"{expression[:120]}": {detail}')
        self.detail = detail


class MalformedJson(FalProxyError):
    """The text is not strict JSON (RFC 8259, with RFC 7493's unique names). The message is a constant reason."""


class ClientGone(FalProxyError):
    pass


class TransportError(FalProxyError):
    """*sent*: any byte of the request was handed to the socket; *received*: any byte of an answer came back.

    The two decide the outcome of a submit, so a leaf may only fix them where they cannot be otherwise.
    """

    def __init__(self, reason: str, *, sent: bool, received: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent
        self.received = received


class ConnectFailed(TransportError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class PoolExhausted(TransportError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class ExchangeBroken(TransportError):
    pass


class DeadlineExceeded(TransportError):
    pass


class MalformedResponse(TransportError):
    pass


class ResponseTooLarge(TransportError):
    pass


class FieldError(TypedDict):
    """One entry of fal's 422 `detail` list (fal docs, model errors)."""

    loc: list[str | int]
    msg: str
    type: str


class Refusal(FalProxyError):
    """An answer that is not the one hoped for.

    *detail* is shown to the caller, and *facts* as further members of the body; *reason* goes to the log only and must
    hold no secret.
    """

    status: ClassVar[int]
    error_type: str
    detail: str | list[FieldError]

    def __init__(
        self,
        detail: str | list[FieldError] | None = None,
        *,
        error_type: str | None = None,
        reason: str | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        facts: Mapping[str, object] | None = None,
    ) -> None:
        if detail is not None:
            self.detail = detail
        self.facts = facts or {}
        if error_type is not None:
            self.error_type = error_type
        self.reason = reason
        self.headers = tuple(headers)
        super().__init__(reason or self.detail)


class BadRequest(Refusal):
    status = 400
    error_type = "bad_request"
    detail = "Bad request"


class Unauthenticated(Refusal):
    """RFC 6750 section 3: a challenge without an error code tells a prober nothing."""

    status = 401
    error_type = "unauthenticated"
    detail = "Unauthorized"

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason=reason, headers=[(b"www-authenticate", b"Bearer")])


class BudgetExceeded(Refusal):
    status = 402
    error_type = "budget_exceeded"
    detail = "Budget spent"


class Forbidden(Refusal):
    status = 403
    error_type = "forbidden"
    detail = "Not allowed"


class NotFound(Refusal):
    status = 404
    error_type = "not_found"
    detail = "Not found"


class JobNotFound(NotFound):
    """Takes no detail: every job id that is not the caller's must get the same bytes."""

    error_type = "job_not_found"
    detail = "Job not found"

    def __init__(self, *, reason: str | None = None) -> None:
        super().__init__(reason=reason)


class MethodNotAllowed(Refusal):
    status = 405
    error_type = "method_not_allowed"
    detail = "Method not allowed"

    def __init__(self, allow: Sequence[str]) -> None:
        super().__init__(headers=[(b"allow", ", ".join(allow).encode("ascii"))])


class RequestTimeout(Refusal):
    status = 408
    error_type = "request_timeout"
    detail = "The request came too slowly"


class TargetNotFal(Refusal):
    status = 412
    error_type = "target_not_fal"
    detail = "The x-fal-target-url header must name a fal.ai URL"


class ContentTooLarge(Refusal):
    status = 413
    error_type = "content_too_large"
    detail = "Request body too large"


class TargetTooLong(Refusal):
    status = 414
    error_type = "target_too_long"
    detail = "Request target too long"


class UnsupportedMediaType(Refusal):
    status = 415
    error_type = "unsupported_media_type"
    detail = "The request body must be uncompressed application/json"


class ValidationFailed(Refusal):
    """Shape `detail: [{loc, msg, type}]`, every error of the payload; `ValidationError` of fal's clients reads it."""

    status = 422
    error_type = "validation_error"
    detail: list[FieldError]

    def __init__(self, detail: list[FieldError]) -> None:
        super().__init__(detail)


class RateLimited(Refusal):
    """*retry_after* in whole seconds, at least 1 (RFC 9110 section 10.2.3)."""

    status = 429
    error_type = "rate_limited"
    detail = "Too many requests"

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after: int,
        error_type: str | None = None,
        reason: str | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(
            detail, error_type=error_type, reason=reason, headers=[retry_after_header(retry_after), *headers]
        )


class HeadTooLarge(Refusal):
    status = 431
    error_type = "head_too_large"
    detail = "Request header fields too large"


class InternalError(Refusal):
    """The listener's word where the application ended without one."""

    status = 500
    error_type = "internal_error"
    detail = "Internal error"


class RunFailed(Refusal):
    status = 500
    error_type = "run_failed"
    detail = "The run failed"


class UpstreamFailed(Refusal):
    status = 502
    error_type = "upstream_failed"
    detail = "The upstream did not answer as it should"


class Unavailable(Refusal):
    """*retry_after* in whole seconds, at least 1."""

    status = 503
    error_type = "unavailable"
    detail = "Not available right now; nothing was done"

    def __init__(self, *, retry_after: int = 1, error_type: str | None = None, reason: str | None = None) -> None:
        super().__init__(error_type=error_type, reason=reason, headers=[retry_after_header(retry_after)])


class NotSent(Unavailable):
    error_type = "upstream_unreachable"


class StoreAway(Unavailable):
    error_type = "store_unavailable"


class Overloaded(Unavailable):
    error_type = "overloaded"


class OutcomeUnknown(Refusal):
    """The submit may run and be billed. This header on a 504 is what keeps every stock client from replaying it."""

    status = 504
    error_type = "outcome_unknown"
    detail = "The submit was sent but its outcome is unknown; it may run. Do not send it again blindly"

    def __init__(self, *, reason: str | None = None) -> None:
        super().__init__(reason=reason, headers=[(b"x-fal-request-timeout-type", b"user")])


def retry_after_header(seconds: int) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % max(1, seconds)


CLOSE = (b"connection", b"close")  # where the rest of the connection is not to be trusted (RFC 9112 section 9.6)
