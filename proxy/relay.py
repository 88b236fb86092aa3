"""The one place that knows FAL_KEY: sends what was granted to fal, at most once where money hangs on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from proxy import headers
from proxy.breaker import Breaker
from proxy.errors import DeadlineExceeded, NotSent, PoolExhausted, TransportError
from proxy.outcomes import MAX_BODY, Judge, Relayed, read_broke, submit_broke
from proxy.ownership import Grant
from proxy.policy import Payload
from proxy.targets import Action, Surface
from proxy.upstream import UpstreamRequest, UpstreamResponse


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for a whole exchange, the wait for a connection included."""

    submit: float = 30.0
    poll: float = 15.0


class Upstream(Protocol):
    async def fetch(self, request: UpstreamRequest, *, timeout: float, max_body: int) -> UpstreamResponse: ...

    async def aclose(self) -> None: ...

    @property
    def active(self) -> int: ...

    @property
    def idle(self) -> int: ...


# Rebuilt from what was parsed; the caller's own string never gets here.
PATHS: Mapping[Action, tuple[bytes, str]] = {
    Action.SUBMIT: (b"POST", "/{endpoint}"),
    Action.STATUS: (b"GET", "/{app}/requests/{job}/status"),
    Action.RESULT: (b"GET", "/{app}/requests/{job}"),
    Action.CANCEL: (b"PUT", "/{app}/requests/{job}/cancel"),
}

_RETRY_SHARE = 0.1  # of reads that may be repeated: an outage must not double the load on fal
_MAX_SAVED_RETRIES = 10.0


class Relay:
    """*upstreams* are the clients of fal's hosts."""

    def __init__(
        self, upstreams: Mapping[Surface, Upstream], fal_key: str, *, breaker: Breaker, deadlines: Deadlines
    ) -> None:
        key = fal_key.encode("ascii")
        self._upstreams = upstreams
        self._authorization = b"Key " + key
        self._judge = Judge(frozenset({key, key.rpartition(b":")[2]}))
        self._breaker = breaker
        self._deadlines = deadlines
        self._saved_retries = 1.0

    async def submit(self, grant: Grant, payload: Payload, chosen: headers.Fields, callback: str = "") -> Relayed:
        """*callback* is our own parameter beside those of the target. Never sends twice, whatever happens.

        Raises the refusals of `outcomes`.
        """
        request = self._request(grant, payload.raw, chosen, callback)
        try:
            response = await self._exchange(grant, request, self._deadlines.submit)
        except TransportError as error:
            raise submit_broke(error) from error
        return self._judge.submit(response)

    async def read(self, grant: Grant) -> Relayed:
        """Status, result and cancel, all idempotent (RFC 9110 section 9.2.2). Raises the refusals of `outcomes`."""
        request = self._request(grant, b"", ())
        try:
            response = await self._exchange_repeatable(grant, request)
        except TransportError as error:
            raise read_broke(error) from error
        return self._judge.read(response)

    def _request(self, grant: Grant, body: bytes, chosen: headers.Fields, callback: str = "") -> UpstreamRequest:
        target = grant.target
        method, template = PATHS[target.action]
        path = template.format(endpoint=target.endpoint, app=target.app, job=grant.upstream_id)
        if query := "&".join(filter(None, (target.query, callback))):
            path = f"{path}?{query}"
        fields = headers.to_fal(target.action, self._authorization, chosen)
        return UpstreamRequest(method, path.encode("ascii"), fields, body)

    async def _exchange(self, grant: Grant, request: UpstreamRequest, seconds: float) -> UpstreamResponse:
        if not self._breaker.allows():
            raise NotSent(reason="the upstream breaker is open")
        try:
            response = await self._upstreams[grant.target.surface].fetch(request, timeout=seconds, max_body=MAX_BODY)
        except PoolExhausted:
            raise  # our own pool was short, which says nothing about fal
        except TransportError:
            self._breaker.record(ok=False)
            raise
        self._breaker.record(ok=response.status < 500)
        return response

    async def _exchange_repeatable(self, grant: Grant, request: UpstreamRequest) -> UpstreamResponse:
        self._saved_retries = min(self._saved_retries + _RETRY_SHARE, _MAX_SAVED_RETRIES)
        try:
            return await self._exchange(grant, request, self._deadlines.poll)
        except TransportError as error:
            if error.received or isinstance(error, PoolExhausted | DeadlineExceeded) or self._saved_retries < 1:
                raise
        self._saved_retries -= 1
        return await self._exchange(grant, request, self._deadlines.poll)
