"""The ASGI application: guards, CORS and the two halves behind them, with one log line and one answer a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.errors import CLOSE, ClientGone, Refusal
from proxy.gateway.gateway import Gateway
from proxy.gateway.streaming_response import Streamed
from proxy.http.cors import Cors
from proxy.http.fields import Fields
from proxy.http.request import Request
from proxy.http.request_checks import guard
from proxy.http.response import PROTECTIVE, Answer, refused
from proxy.http.server.exchange import EXCHANGE
from proxy.telemetry.access_record import AccessRecord
from proxy.telemetry.metrics import Telemetry
from proxy.webhooks.callback_url import ROUTE as CALLBACK_ROUTE
from proxy.webhooks.receiver import Callbacks

# The routes below the prefix that are the gateway's; all else, and all outside the prefix, is the site's.
_GATEWAY_ROUTES = (b"/proxy", b"/queue/", b"/run/", b"/storage/", b"/tokens")
_CLIENT_GONE = 499  # nginx's name for it; never on the wire, the caller has left


class Front:
    """*address_of* gives the client's address of a scope, trusted proxies accounted for."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        site: ASGIApp,
        prefix: str,
        allowed_hosts: frozenset[bytes],
        address_of: Callable[[Scope], str],
        cors: Cors,
        telemetry: Telemetry,
        callbacks: Callbacks | None = None,
    ) -> None:
        self._gateway = gateway
        self._callbacks = callbacks
        self._site = site
        self._prefix = prefix.encode("ascii")
        self._allowed_hosts = allowed_hosts
        self._address_of = address_of
        self._cors = cors
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._site(scope, receive, send)
            return
        record = self._telemetry.open(scope["method"], scope["raw_path"])
        try:
            await self._respond(scope, receive, send, record)
        finally:
            self._telemetry.close(record)

    async def _respond(self, scope: Scope, receive: Receive, send: Send, record: AccessRecord) -> None:
        try:
            named = guard(scope, allowed_hosts=self._allowed_hosts)
            answer: Answer | Streamed | None = self._cors.preflight(scope["method"], scope["headers"])
            if answer is None:
                answer = await self._answer(scope, named, receive, send, record)
        except Refusal as refusal:
            record.refused(refusal)
            answer = refused(refusal)
        except ClientGone:
            record.status = _CLIENT_GONE
            return
        except Exception as error:  # noqa: BLE001 the last resort: a defect must answer, be logged once, and end nothing
            record.failed(error)
            answer = _INTERNAL
        if answer is not None:
            record.status = answer.status
            cors = self._cors.fields(scope["headers"])
            if isinstance(answer, Streamed):
                await _stream(answer, record, cors, receive, send)
            else:
                await _send(answer, record, cors, scope, send)

    async def _answer(
        self, scope: Scope, named: Mapping[bytes, bytes], receive: Receive, send: Send, record: AccessRecord
    ) -> Answer | Streamed | None:
        """The gateway's answer, or None where the site has answered by itself."""
        path: bytes = scope["raw_path"]
        if path.startswith(self._prefix):
            route = path[len(self._prefix) :]
            if route.startswith(_GATEWAY_ROUTES):
                return await self._gateway.handle(self._request(scope, named, route, receive), record)
            if self._callbacks is not None and route.startswith(CALLBACK_ROUTE):
                return await self._callbacks.handle(self._request(scope, named, route, receive), record)
        await self._site(scope, receive, _protected(send, record, self._cors.fields(scope["headers"])))
        return None

    def _request(self, scope: Scope, named: Mapping[bytes, bytes], route: bytes, receive: Receive) -> Request:
        return Request(
            scope["method"],
            route,
            scope["query_string"],
            scope["headers"],
            named,
            self._address_of(scope),
            receive,
        )


_INTERNAL = Answer(500, b'{"detail":"Internal error","message":"Internal error","error_type":"internal_error"}')


async def _send(answer: Answer, record: AccessRecord, cors: Fields, scope: Scope, send: Send) -> None:
    """In one write where our own listener carries the request, else by ASGI's two messages."""
    record.response_bytes = len(answer.body)
    request_id = record.request_id.encode("ascii")
    exchange = scope.get("extensions", {}).get(EXCHANGE)
    if exchange is not None and CLOSE not in answer.headers:
        head = answer.head(request_id, cors)
        if exchange.answer(answer.status, head, answer.body):
            return
    fields = answer.wire_headers(request_id, cors)
    await send({"type": "http.response.start", "status": answer.status, "headers": fields})
    await send({"type": "http.response.body", "body": answer.body})


async def _stream(answer: Streamed, record: AccessRecord, cors: Fields, receive: Receive, send: Send) -> None:
    """To return before the end of an answer is to have its connection cut."""
    if await answer.deliver(receive, send, record, cors):
        await send({"type": "http.response.body", "body": b""})


def _protected(send: Send, record: AccessRecord, cors: Fields) -> Send:
    """*send* of the site, with the fields every answer has; the playground's own policy stands where it sets one."""

    async def protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
            own = {name for name, _ in message["headers"]}
            ours = [*PROTECTIVE, (b"x-fal-request-id", record.request_id.encode("ascii"))]
            added = [(name, value) for name, value in ours if name not in own]
            message = {**message, "headers": [*message["headers"], *added, *cors]}
        await send(message)

    return protected
