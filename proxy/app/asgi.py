"""ASGI middleware of the gateway: request checks, CORS, one log record and one answer for each request."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.errors import CLOSE, ClientGone, InternalError, Refusal
from proxy.gateway.gateway import Gateway
from proxy.gateway.streams.streaming_response import StreamingResponse
from proxy.http.client_address import ClientAddress
from proxy.http.cors import Cors
from proxy.http.fields import Fields
from proxy.http.request import REQUEST, Request
from proxy.http.request_checks import check_request
from proxy.http.response import PROTECTIVE, Response, error_response
from proxy.http.server.disconnect import CancelOnDisconnect
from proxy.http.server.exchange import EXCHANGE, Exchange
from proxy.telemetry.access_record import RECORD, AccessRecord
from proxy.telemetry.metrics import Telemetry
from proxy.webhooks.callback_url import ROUTE as CALLBACK_ROUTE
from proxy.webhooks.receiver import WebhookReceiver

# Routes below the prefix that *app* serves and authenticates itself. All others are the gateway's, so that a request
# without a session does not learn which routes there are.
_PAGES = (b"/openapi.json", b"/usage")
_CLIENT_GONE = 499  # nginx's status for the log; it is never sent, because the caller has disconnected


class GatewayMiddleware:
    """Passes gateway routes to *gateway*, fal's webhooks to *callbacks*, and all else to *app*."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        gateway: Gateway,
        prefix: str,
        public_url: str,
        allowed_hosts: frozenset[bytes],
        client_address: ClientAddress,
        cors: Cors,
        telemetry: Telemetry,
        callbacks: WebhookReceiver | None = None,
    ) -> None:
        self._app = app
        self._gateway = gateway
        self._callbacks = callbacks
        self._prefix = prefix.encode("ascii")
        self._public_url = public_url
        self._allowed_hosts = allowed_hosts
        self._client_address = client_address
        self._cors = cors
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = self._telemetry.open(scope["method"], scope["raw_path"])
        try:
            await self._respond(scope, receive, send, record)
        finally:
            self._telemetry.close(record)

    async def _respond(self, scope: Scope, receive: Receive, send: Send, record: AccessRecord) -> None:
        try:
            named = check_request(scope, allowed_hosts=self._allowed_hosts)
            response: Response | StreamingResponse | None = self._cors.preflight(scope["method"], scope["headers"])
            if response is None:
                response = await self._handle(scope, named, receive, send, record)
        except Refusal as refusal:
            record.record_refusal(refusal)
            response = error_response(refusal)
        except ClientGone:
            record.status = _CLIENT_GONE
            return
        except Exception as error:  # noqa: BLE001 last resort: a defect must be logged once, be answered, and stop nothing
            record.record_failure(error)
            response = error_response(InternalError())
        if response is not None:
            record.status = response.status
            cors = self._cors.fields(scope["headers"])
            if isinstance(response, StreamingResponse):
                await _stream(response, record, cors, CancelOnDisconnect(receive, _exchange(scope)), send)
            else:
                await _send(response, record, cors, _exchange(scope), send)

    async def _handle(
        self, scope: Scope, named: Mapping[bytes, bytes], receive: Receive, send: Send, record: AccessRecord
    ) -> Response | StreamingResponse | None:
        """Returns the gateway's response, or None where *app* has sent one."""
        path: bytes = scope["raw_path"]
        if path.startswith(self._prefix):
            route = path[len(self._prefix) :]
            if self._callbacks is not None and route.startswith(CALLBACK_ROUTE):
                return await self._callbacks.handle(self._request(scope, named, route, receive), record)
            if route.startswith(b"/") and route not in _PAGES:
                return await self._gateway.handle(self._request(scope, named, route, receive), record)
        scope = {**scope, REQUEST: self._request(scope, named, path, receive), RECORD: record}
        await self._app(scope, receive, _protected(send, record, self._cors.fields(scope["headers"])))
        return None

    def _request(self, scope: Scope, named: Mapping[bytes, bytes], route: bytes, receive: Receive) -> Request:
        return Request(
            scope["method"],
            route,
            scope["query_string"],
            scope["headers"],
            named,
            self._client_address.resolve(scope),
            receive,
            self._public_url,
            _exchange(scope),
        )


def _exchange(scope: Scope) -> Exchange | None:
    """Returns the exchange of our own connection class, None under another server."""
    extensions = scope.get("extensions")
    exchange = extensions.get(EXCHANGE) if extensions else None
    return exchange if isinstance(exchange, Exchange) else None


async def _send(response: Response, record: AccessRecord, cors: Fields, exchange: Exchange | None, send: Send) -> None:
    """Sends *response* in one write where our own connection class carries it, else by two ASGI messages."""
    record.response_bytes = len(response.body)
    request_id = record.request_id.encode("ascii")
    if exchange is not None and CLOSE not in response.headers:
        head = response.head(request_id, cors)
        if exchange.answer(response.status, head, response.body):
            return
    fields = response.wire_headers(request_id, cors)
    await send({"type": "http.response.start", "status": response.status, "headers": fields})
    await send({"type": "http.response.body", "body": response.body})


async def _stream(
    response: StreamingResponse, record: AccessRecord, cors: Fields, disconnect: CancelOnDisconnect, send: Send
) -> None:
    """Sends *response*. Returning before the last message makes the server cut the connection."""
    if await response.deliver(disconnect, send, record, cors):
        await send({"type": "http.response.body", "body": b""})


def _protected(send: Send, record: AccessRecord, cors: Fields) -> Send:
    """Returns *send* with the fields of every answer added; a field that the page sets itself stays."""

    async def protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
            own = {name for name, _ in message["headers"]}
            common = [*PROTECTIVE, (b"x-fal-request-id", record.request_id.encode("ascii"))]
            added = [(name, value) for name, value in common if name not in own]
            message = {**message, "headers": [*message["headers"], *added, *cors]}
        await send(message)

    return protected
