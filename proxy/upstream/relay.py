"""The one place that knows FAL_KEY: sends what was granted to fal, at most once where money hangs on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from proxy.auth.authorization import Grant
from proxy.circuit_breaker import Breaker
from proxy.errors import (
    DeadlineExceeded,
    NotSent,
    OutcomeUnknown,
    PoolExhausted,
    ResponseTooLarge,
    TransportError,
    UpstreamFailed,
)
from proxy.fal_api.operations import Surface
from proxy.http.client.messages import UpstreamRequest, UpstreamResponse
from proxy.http.fields import Fields
from proxy.payload.body import Payload
from proxy.upstream.body import UpstreamBody
from proxy.upstream.outcomes import (
    MAX_BODY,
    MAX_ERROR_BODY,
    Outcome,
    ResponseClassifier,
    UpstreamResult,
    may_stream,
    read_error,
    submit_error,
)
from proxy.upstream.request_builder import RequestBuilder
from proxy.upstream.secret_filter import SecretFilter

T = TypeVar("T", UpstreamResponse, UpstreamBody | UpstreamResponse)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for a whole exchange, the wait for a connection included; of a stream, up to its head."""

    submit: float = 30.0
    poll: float = 15.0
    run: float = 120.0


class UpstreamClient(Protocol):
    async def fetch(self, request: UpstreamRequest, *, timeout: float, max_body: int) -> UpstreamResponse: ...

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
_NO_IDLE_TIMEOUT = 3600.0  # seconds; whoever reads a stream keeps the time of each wait


class Relay:
    """*upstreams* are the clients of fal's hosts, *streams* those for answers that stay open (None: the same)."""

    def __init__(
        self,
        upstreams: Mapping[Surface, UpstreamClient],
        fal_key: str,
        *,
        breaker: Breaker,
        deadlines: Deadlines,
        streams: Mapping[Surface, UpstreamClient] | None = None,
    ) -> None:
        key = fal_key.encode("ascii")
        self._upstreams = upstreams
        self._streams = upstreams if streams is None else streams
        self._outbound = RequestBuilder(b"Key " + key)
        self._judge = ResponseClassifier(frozenset({key, key.rpartition(b":")[2]}))
        self._breaker = breaker
        self._deadlines = deadlines
        self._saved_retries = 1.0

    async def submit(self, grant: Grant, payload: Payload, chosen: Fields, callback: str = "") -> UpstreamResult:
        """*callback* is our own parameter beside those of the target. Never sends twice, whatever happens.

        Raises the refusals of `outcomes`.
        """
        request = self._outbound.request(grant, payload.raw, chosen, callback)
        try:
            response = await self._through_breaker(partial(self._fetch, grant, request, self._deadlines.submit))
        except TransportError as error:
            raise submit_error(error) from error
        return self._judge.classify_submit(response)

    async def read(self, grant: Grant) -> UpstreamResult:
        """Status, result and cancel, all idempotent (RFC 9110 section 9.2.2). Raises the refusals of `outcomes`."""
        request = self._outbound.request(grant)
        try:
            response = await self._with_one_retry(partial(self._fetch, grant, request, self._deadlines.poll))
        except TransportError as error:
            raise read_error(error) from error
        return self._judge.classify_read(response)

    async def follow(self, grant: Grant, held: AsyncExitStack) -> UpstreamBody | UpstreamResult:
        """fal's events about a job, open until *held* is closed; or its refusal. Raises as `read` does."""
        request = self._outbound.request(grant)
        try:
            said = await self._with_one_retry(partial(self._open, grant, request, self._deadlines.poll, held))
        except TransportError as error:
            raise read_error(error) from error
        if not isinstance(said, UpstreamResponse):
            return said
        relayed = self._judge.classify_read(said)
        if relayed.outcome is Outcome.ACCEPTED:
            raise UpstreamFailed(reason="fal answered a stream with something else")
        return relayed

    async def run(self, grant: Grant, payload: Payload, chosen: Fields) -> UpstreamResult:
        """Raises as `submit` does, and RunFailed. Never sends twice.

        The breaker has no say and learns nothing: a slow answer or a 5xx is most often the model's own.
        """
        request = self._outbound.request(grant, payload.raw, chosen)
        try:
            response = await self._fetch(grant, request, self._deadlines.run)
        except TransportError as error:
            raise submit_error(error) from error
        return self._judge.classify_run(response)

    async def run_stream(
        self, grant: Grant, payload: Payload, chosen: Fields, held: AsyncExitStack
    ) -> UpstreamBody | UpstreamResult:
        """What a model answers as it comes, open until *held* is closed; or its refusal. Raises as `run` does."""
        request = self._outbound.request(grant, payload.raw, chosen)
        try:
            said = await self._open(grant, request, self._deadlines.run, held)
        except TransportError as error:
            raise submit_error(error) from error
        if not isinstance(said, UpstreamResponse):
            return said
        relayed = self._judge.classify_run(said)
        if relayed.outcome is Outcome.ACCEPTED:
            raise OutcomeUnknown(reason="fal answered a stream in a form that is not passed on")
        return relayed

    async def issue(self, grant: Grant, payload: Payload, chosen: Fields) -> UpstreamResult:
        """An upload slot or a token: fal is asked once. Raises the refusals of `outcomes`.

        The breaker has no say and learns nothing: uploads that fail must not keep anybody from the queue.
        """
        request = self._outbound.request(grant, payload.raw, chosen)
        try:
            response = await self._fetch(grant, request, self._deadlines.poll, MAX_ERROR_BODY)
        except TransportError as error:
            raise read_error(error) from error
        return self._judge.classify_issue(response)

    def contains_secret(self, content: bytes) -> bool:
        """Whether *content* holds the key, so that it must not go out."""
        return self._judge.contains_secret(content)

    def secret_filter(self) -> SecretFilter:
        """For content that goes on as it comes."""
        return self._judge.secret_filter()

    async def _through_breaker(self, once: Callable[[], Awaitable[T]]) -> T:
        """*once*, unless the breaker is open; what becomes of it is the breaker's to learn from."""
        if not self._breaker.allows():
            raise NotSent(reason="the upstream breaker is open")
        try:
            said = await once()
        except PoolExhausted:
            raise  # our own pool was short, which says nothing about fal
        except TransportError:
            self._breaker.record(ok=False)
            raise
        self._breaker.record(ok=said.status < 500)
        return said

    async def _fetch(
        self, grant: Grant, request: UpstreamRequest, seconds: float, cap: int = MAX_BODY
    ) -> UpstreamResponse:
        return await self._upstreams[grant.target.surface].fetch(request, timeout=seconds, max_body=cap)

    async def _open(
        self, grant: Grant, request: UpstreamRequest, seconds: float, held: AsyncExitStack
    ) -> UpstreamBody | UpstreamResponse:
        """An answer that may go on as it comes; any other one whole."""
        upstream = self._streams[grant.target.surface]
        source = await held.enter_async_context(
            upstream.stream(request, timeout_head=seconds, timeout_idle=_NO_IDLE_TIMEOUT)
        )
        if may_stream(grant.target.action, source.status, source.headers):
            return source
        return await _whole(source, seconds)

    async def _with_one_retry(self, once: Callable[[], Awaitable[T]]) -> T:
        self._saved_retries = min(self._saved_retries + _RETRY_SHARE, _MAX_SAVED_RETRIES)
        try:
            return await self._through_breaker(once)
        except TransportError as error:
            if error.received or isinstance(error, PoolExhausted | DeadlineExceeded) or self._saved_retries < 1:
                raise
        self._saved_retries -= 1
        return await self._through_breaker(once)


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
