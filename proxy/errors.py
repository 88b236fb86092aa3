"""The errors of the package, as one tree.

    FalProxyError
    ├── ConfigError                   start-up only: all problems of a configuration at once
    ├── ExpressionError               an operator's expression that does not compile, or has no result for a value
    ├── SchemaError                   a document that cannot be imported as a model's schema
    ├── MalformedJson                 text that is not strict JSON; the parser's caller turns it into a refusal
    ├── ClientGone                    the client disconnected before its request was complete or answered
    ├── TransportError                the upstream exchange broke; `sent` and `received` are how far it got
    │   ├── ConnectFailed             refused, DNS, TLS or connect deadline: nothing was sent
    │   │   └── ConnectTimedOut       no answer to the connection attempt
    │   ├── PoolExhausted             no free connection in time: nothing was sent
    │   ├── ExchangeBroken            reset, closed or cut mid-way
    │   ├── DeadlineExceeded          the whole exchange took too long
    │   ├── MalformedResponse         not HTTP/1.1, or more bytes than one response
    │   └── ResponseTooLarge          head or body over its cap
    └── Refusal                       sent to the caller; has a status, an error_type and headers
        ├── BadRequest            400   malformed framing, target, query or JSON
        ├── Unauthenticated       401   no session or a bad one; constant body, the reason stays in the log
        ├── BudgetExceeded        402   an allowance is spent (clients do not replay a 402)
        ├── Forbidden             403   endpoint, action or scope not granted
        ├── NotFound              404   no such route
        │   └── JobNotFound       404   foreign, unknown, expired and malformed job ids alike
        ├── MethodNotAllowed      405
        ├── RequestTimeout        408   the request arrived too slowly and was not processed
        ├── TargetNotFal          412   the target URL is not one of fal's (fal's proxy formula)
        ├── ContentTooLarge       413
        ├── TargetTooLong         414
        ├── UnsupportedMediaType  415
        ├── ValidationFailed      422   schema or policy, in fal's detail[{loc, msg, type}] shape
        ├── RateLimited           429   a short window or the jobs in flight; Retry-After
        ├── HeadTooLarge          431
        ├── InternalError         500   a defect of the gateway, logged where it was raised
        ├── RunFailed             500   a run certainly failed at fal; clients do not replay it
        ├── UpstreamFailed        502   a GET that failed upstream; safe to replay
        ├── Unavailable           503   certainly not done; safe to replay; Retry-After
        │   ├── NotSent           503   no byte of the request was sent to fal
        │   ├── PoolFull          503   all connections to fal are in use; nothing was sent
        │   ├── ServicePaused     503   fal refuses our account or key
        │   ├── StoreAway         503   the limit or ledger store did not answer in time
        │   └── Overloaded        503   this worker is full, or draining
        └── OutcomeUnknown        504   bytes of a submit were sent, and no complete response arrived

A leaf has one status. Only `proxy.http.response.error_response` turns a refusal into a response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypedDict


class FalProxyError(Exception):
    """Base class of the errors that this package raises."""


@dataclass(frozen=True)
class Problem:
    """A mistake in a configuration: its key, as in `endpoints[0].id`, and a message."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class ConfigError(FalProxyError):
    """A configuration that must not start, with all its problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class ExpressionError(FalProxyError, ValueError):
    """An operator's expression that does not compile, or has no result for a value.

    *detail* is the mistake alone. The message also has the expression, for the operator.
    """

    def __init__(self, detail: str, expression: str | None = None) -> None:
        super().__init__(detail if expression is None else f'"{expression[:120]}": {detail}')
        self.detail = detail


class SchemaError(FalProxyError):
    """A document that cannot be imported as the schema of an endpoint. The message has no name of a file."""


class MalformedJson(FalProxyError):
    """Text that is not strict JSON (RFC 8259, with the unique names of RFC 7493).

    The message is a constant reason without any of the text.
    """


class ClientGone(FalProxyError):
    """A client that disconnected before its request was complete or answered."""


class TransportError(FalProxyError):
    """An upstream exchange that broke.

    *sent* is True where any byte of the request was written to the socket, *received* where any byte of a response
    arrived. The two decide the outcome of a submit. A subclass may fix one only where the other value is impossible.
    """

    def __init__(self, reason: str, *, sent: bool, received: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent
        self.received = received


class ConnectFailed(TransportError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class ConnectTimedOut(ConnectFailed):
    """No answer to the connection attempt: a second one would cost as long again."""


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
    """An error response to the caller.

    *detail* is sent to the caller, and *facts* as further members of the body. *reason* goes to the log only, and must
    not contain a secret. *limit* is the kind of the limits that refused, as "rate" or "budget", and their names.
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
        limit: tuple[str, ...] = (),
    ) -> None:
        if detail is not None:
            self.detail = detail
        self.limit = limit
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
    """A missing or bad session. The challenge has no error code (RFC 6750 section 3).

    *counts* is True for a failed login: a forged, malformed or foreign token, but not one that has expired.
    """

    status = 401
    error_type = "unauthenticated"
    detail = "Sign in again: this call has no valid session token"

    def __init__(self, *, reason: str, counts: bool = False) -> None:
        super().__init__(reason=reason, headers=[(b"www-authenticate", b"Bearer")])
        self.counts = counts


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
    """A job id that is not the caller's. It has no detail, since all of them must get the same bytes."""

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
    detail = "The request arrived too slowly"


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
    """All errors of a payload, as `detail: [{loc, msg, type}]` for `ValidationError` of fal's clients."""

    status = 422
    error_type = "validation_error"
    detail: list[FieldError]

    def __init__(self, detail: list[FieldError]) -> None:
        super().__init__(detail)


class RateLimited(Refusal):
    """A limit of requests in a short window, or of jobs in flight.

    *retry_after* is in whole seconds, at least 1 (RFC 9110 section 10.2.3).
    """

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
        limit: tuple[str, ...] = (),
    ) -> None:
        fields = [retry_after_header(retry_after), *headers]
        super().__init__(detail, error_type=error_type, reason=reason, headers=fields, limit=limit)


class HeadTooLarge(Refusal):
    status = 431
    error_type = "head_too_large"
    detail = "Request header fields too large"


class InternalError(Refusal):
    """The response of the server where the application ended without one."""

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
    detail = "The upstream sent no valid response"


class Unavailable(Refusal):
    """A request that was certainly not done. *retry_after* is in whole seconds, at least 1."""

    status = 503
    error_type = "unavailable"
    detail = "Not available at the moment; nothing was done"

    def __init__(self, *, retry_after: int = 1, error_type: str | None = None, reason: str | None = None) -> None:
        super().__init__(error_type=error_type, reason=reason, headers=[retry_after_header(retry_after)])


class NotSent(Unavailable):
    error_type = "upstream_unreachable"


class PoolFull(Unavailable):
    """A request for which no connection to fal was free in time."""

    error_type = "upstream_pool_full"


class ServicePaused(Unavailable):
    """A request refused while fal refuses our account.

    *cause* is set where an answer of fal's shows that it does, and *evidence* holds the beginning of that answer.
    """

    error_type = "service_paused"

    def __init__(
        self, *, retry_after: int, cause: str | None = None, reason: str | None = None, evidence: str = ""
    ) -> None:
        super().__init__(retry_after=retry_after, reason=reason)
        self.cause = cause
        self.evidence = evidence


class StoreAway(Unavailable):
    error_type = "store_unavailable"


class Overloaded(Unavailable):
    error_type = "overloaded"


class OutcomeUnknown(Refusal):
    """A submit that may run and be billed. Its header keeps all stock clients from replaying it.

    *request_id* is the handle of its job where there is one.
    """

    status = 504
    error_type = "outcome_unknown"
    detail = "The request was sent but its outcome is unknown; it may run. Do not send it again unchecked"

    def __init__(self, *, reason: str | None = None, request_id: str | None = None) -> None:
        facts = {} if request_id is None else {"request_id": request_id}
        super().__init__(reason=reason, headers=[(b"x-fal-request-timeout-type", b"user")], facts=facts)


def retry_after_header(seconds: int) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % max(1, seconds)


# Ends a connection whose further bytes cannot be trusted (RFC 9112 section 9.6).
CLOSE = (b"connection", b"close")
