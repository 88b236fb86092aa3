"""Relay: the one place that sends FAL_KEY. Sends granted calls to fal, paid ones at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from proxy.auth.authorization import Grant
from proxy.errors import (
    ConnectTimedOut,
    DeadlineExceeded,
    OutcomeUnknown,
    PoolExhausted,
    Refusal,
    ResponseTooLarge,
    TransportError,
    Unavailable,
    UpstreamFailed,
)
from proxy.fal_api.operations import Action, Surface
from proxy.http.client.messages import UpstreamRequest, UpstreamResponse
from proxy.http.fields import Fields
from proxy.payload.body import Payload
from proxy.upstream.account.fal_key import secrets
from proxy.upstream.account.state import Account
from proxy.upstream.body import UpstreamBody
from proxy.upstream.breakers.breaker_table import Breakers
from proxy.upstream.breakers.upstream_call import UpstreamCall
from proxy.upstream.classifier import (
    MAX_BODY,
    MAX_ERROR_BODY,
    ResponseClassifier,
    UnmarkedFailure,
    billable_units,
    may_stream,
)
from proxy.upstream.job_end import job_end_from_status
from proxy.upstream.outcomes import Accepted, Outcome, UpstreamResult, read_error, submit_error
from proxy.upstream.request_builder import RequestBuilder
from proxy.upstream.secret_filter import SecretFilter, SecretSearch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for a whole exchange, the wait for a connection included; of a stream, up to its head."""

    submit: float = 30.0
    poll: float = 15.0
    run: float = 120.0


class UpstreamClient(Protocol):
    """Client of one origin. *reserved* gives a request the share of the pool that is kept for cancels."""

    async def fetch(
        self, request: UpstreamRequest, *, timeout: float, max_body: int, reserved: bool = False
    ) -> UpstreamResponse: ...

    def stream(
        self, request: UpstreamRequest, *, timeout_head: float, timeout_idle: float
    ) -> AbstractAsyncContextManager[UpstreamBody]: ...

    async def aclose(self) -> None: ...

    @property
    def active(self) -> int: ...

    @property
    def idle(self) -> int: ...


_RETRY_SHARE = 0.1  # of reads that may be repeated: an outage must not double the load on fal
_MAX_SAVED_RETRIES = 10.0
_NO_IDLE_TIMEOUT = 3600.0  # seconds; the reader of a stream keeps the time of each wait


class Relay:
    """Sender of calls by the keys of *account*.

    *clients*: those of fal's origins; *streams*: those for streams (None: the same).
    """

    def __init__(
        self,
        clients: Mapping[Surface, UpstreamClient],
        *,
        breakers: Breakers,
        account: Account,
        deadlines: Deadlines,
        clock: Callable[[], float],
        streams: Mapping[Surface, UpstreamClient] | None = None,
        expose_units: bool = False,
    ) -> None:
        keys = account.keys
        self._clients = clients
        self._streams = clients if streams is None else streams
        self._requests = {alias: RequestBuilder(b"Key " + key.text.encode("ascii")) for alias, key in keys.items()}
        self._classifier = ResponseClassifier(
            SecretSearch(secrets(keys.values())), clock=clock, expose_units=expose_units, pause=account.retry_after
        )
        self._breakers = breakers
        self.account = account
        self._deadlines = deadlines
        self._saved_retries = 1.0

    async def submit(
        self, grant: Grant, payload: Payload, options: Fields, callback: Callable[[Grant], str] | None = None
    ) -> Accepted | UpstreamResult:
        """Sends a submit once. *callback* returns our own query parameter beside those of the target.

        Raises the refusals of `classifier` and `outcomes`.
        """
        grant = self._with_key(grant)
        alias, extra = grant.key_alias, "" if callback is None else callback(grant)
        request = self._requests[alias].build(grant, payload.raw, options, extra)
        classify = self._classifier.classify_submit
        result = await self._exchange(grant, request, self._deadlines.submit, classify, submit_error)
        return replace(result, key_alias=alias) if alias and isinstance(result, Accepted) else result

    async def read(self, grant: Grant) -> UpstreamResult:
        """Sends a status, result or cancel. A broken one is repeated once.

        All three are idempotent (RFC 9110 section 9.2.2). Raises the refusals of `classifier` and `outcomes`.
        """
        request = self._requests[grant.key_alias].build(grant)
        is_result = grant.target.action is Action.RESULT
        classify = self._classifier.classify_result if is_result else self._classifier.classify_read
        self._save_retries()
        try:
            return await self._exchange(grant, request, self._deadlines.poll, classify, read_error)
        except UnmarkedFailure as failure:
            return await self._failed_result(grant, failure)
        except (Unavailable, UpstreamFailed) as error:
            if not self._may_retry(error):
                raise
        return await self._exchange(grant, request, self._deadlines.poll, classify, read_error)

    async def follow(self, grant: Grant, exit_stack: AsyncExitStack) -> UpstreamBody | UpstreamResult:
        """Returns fal's events about a job, open until *exit_stack* is closed; or its refusal.

        Raises as `read`.
        """
        request = self._requests[grant.key_alias].build(grant)
        self._save_retries()
        try:
            return await self._open(grant, request, self._deadlines.poll, self._refused_stream, read_error, exit_stack)
        except (Unavailable, UpstreamFailed) as error:
            if not self._may_retry(error):
                raise
        return await self._open(grant, request, self._deadlines.poll, self._refused_stream, read_error, exit_stack)

    async def run(self, grant: Grant, payload: Payload, options: Fields) -> UpstreamResult:
        """Sends a run once. Raises as `submit`, and RunFailed."""
        grant = self._with_key(grant)
        request = self._requests[grant.key_alias].build(grant, payload.raw, options)
        return await self._exchange(grant, request, self._deadlines.run, self._classifier.classify_run, submit_error)

    async def run_stream(
        self, grant: Grant, payload: Payload, options: Fields, exit_stack: AsyncExitStack
    ) -> UpstreamBody | UpstreamResult:
        """Returns a model's answer as it comes, open until *exit_stack* is closed; or its refusal.

        Raises as `run`.
        """
        grant = self._with_key(grant)
        request = self._requests[grant.key_alias].build(grant, payload.raw, options)
        return await self._open(grant, request, self._deadlines.run, self._refused_run_stream, submit_error, exit_stack)

    async def issue(self, grant: Grant, payload: Payload, options: Fields) -> UpstreamResult:
        """Requests an upload slot or a token, once. Raises the refusals of `classifier` and `outcomes`."""
        grant = self._with_key(grant)
        request = self._requests[grant.key_alias].build(grant, payload.raw, options)
        classify = self._classifier.classify_issue
        return await self._exchange(grant, request, self._deadlines.poll, classify, read_error, MAX_ERROR_BODY)

    async def fetch(self, request: UpstreamRequest) -> UpstreamResponse:
        """Sends a request of our own to the queue, past breakers and account. Raises TransportError."""
        return await self._clients[Surface.QUEUE].fetch(request, timeout=self._deadlines.poll, max_body=MAX_ERROR_BODY)

    def status_request(self, app: str, upstream_id: str, key_alias: str) -> UpstreamRequest:
        """Returns the request for the status of a job, by fal's own id."""
        return self._requests[key_alias].status(app, upstream_id)

    async def result_units(self, app: str, upstream_id: str, key_alias: str) -> float | None:
        """Returns the billable units of a job's result, of which only the head is read. Raises TransportError."""
        request = self._requests[key_alias].result(app, upstream_id)
        async with self._streams[Surface.QUEUE].stream(
            request, timeout_head=self._deadlines.poll, timeout_idle=self._deadlines.poll
        ) as source:
            return billable_units(source.headers) if source.status == 200 else None

    def contains_secret(self, content: bytes) -> bool:
        """Returns True where *content* holds the key, so that it must not go out."""
        return self._classifier.contains_secret(content)

    def secret_filter(self) -> SecretFilter:
        """Returns a filter for content that is passed on chunk by chunk."""
        return self._classifier.secret_filter()

    def _with_key(self, grant: Grant) -> Grant:
        """Returns the grant with the key whose turn it is. Raises ServicePaused."""
        alias = self.account.choose(grant.target)
        return replace(grant, key_alias=alias) if alias else grant

    async def _exchange(
        self,
        grant: Grant,
        request: UpstreamRequest,
        seconds: float,
        classify: Callable[[UpstreamResponse], T],
        refusal_for: Callable[[TransportError], Refusal],
        cap: int = MAX_BODY,
    ) -> T:
        """One exchange with fal, classified and counted."""
        with UpstreamCall(grant, self._breakers, self.account, refusal_for):
            response = await self._clients[grant.target.surface].fetch(
                request, timeout=seconds, max_body=cap, reserved=grant.target.action is Action.CANCEL
            )
            return classify(response)

    async def _open(
        self,
        grant: Grant,
        request: UpstreamRequest,
        seconds: float,
        classify: Callable[[UpstreamResponse], UpstreamResult],
        refusal_for: Callable[[TransportError], Refusal],
        exit_stack: AsyncExitStack,
    ) -> UpstreamBody | UpstreamResult:
        """Exchange up to the head of an answer that is passed on as it comes; another one is read whole."""
        client = self._streams[grant.target.surface]
        with UpstreamCall(grant, self._breakers, self.account, refusal_for):
            stream = client.stream(request, timeout_head=seconds, timeout_idle=_NO_IDLE_TIMEOUT)
            source = await exit_stack.enter_async_context(stream)
            if may_stream(grant.target.action, source.status, source.headers):
                return source
            return classify(await _whole(source, seconds))

    async def _failed_result(self, grant: Grant, failure: UnmarkedFailure) -> UpstreamResult:
        """Returns the result where the status of its job shows that the model failed, else raises *failure*."""
        status = replace(grant, target=replace(grant.target, action=Action.STATUS, query=""))
        end = job_end_from_status(Action.STATUS, await self.read(status))
        if end is None or not end.failed:
            raise failure
        return failure.result

    def _refused_stream(self, response: UpstreamResponse) -> UpstreamResult:
        result = self._classifier.classify_read(response)
        if result.outcome is Outcome.ACCEPTED:
            raise UpstreamFailed(reason="fal answered a stream with something else")
        return result

    def _refused_run_stream(self, response: UpstreamResponse) -> UpstreamResult:
        result = self._classifier.classify_run(response)
        if result.outcome is Outcome.ACCEPTED:
            raise OutcomeUnknown(reason="fal answered a stream in a form that is not passed on")
        return result

    def _save_retries(self) -> None:
        self._saved_retries = min(self._saved_retries + _RETRY_SHARE, _MAX_SAVED_RETRIES)

    def _may_retry(self, refusal: Refusal) -> bool:
        """Returns True, and spends a retry, where no byte of an answer came and time and pool allow one."""
        error = refusal.__cause__
        if not isinstance(error, TransportError) or error.received or self._saved_retries < 1:
            return False
        if isinstance(error, PoolExhausted | DeadlineExceeded | ConnectTimedOut):
            return False
        self._saved_retries -= 1
        return True


async def _whole(source: UpstreamBody, seconds: float) -> UpstreamResponse:
    """Raises TransportError."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in source:
                body += chunk
                if len(body) > MAX_BODY:
                    raise ResponseTooLarge(f"more than {MAX_BODY} bytes of content", sent=True, received=True)
    except TimeoutError as error:
        raise DeadlineExceeded("no complete answer in time", sent=True, received=True) from error
    return UpstreamResponse(source.status, source.headers, bytes(body))
