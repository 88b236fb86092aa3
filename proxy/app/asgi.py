"""ASGI middleware of the gateway: checks, CORS, one log record and one response for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.errors import CLOSE, ClientGone, InternalError, Refusal
from proxy.gateway.gateway import Gateway
from proxy.gateway.streams.streaming_response import StreamingResponse
from proxy.http.base_path import BasePath, Location, raw_path
from proxy.http.body_deadline import TimedReceive
from proxy.http.client_address import ClientAddress
from proxy.http.cors import Cors
from proxy.http.fields import Fields
from proxy.http.request import REQUEST, Request
from proxy.http.request_checks import METHODS, check_request, check_request_line
from proxy.http.response import PROTECTIVE, Response, error_response
from proxy.http.server.disconnect import CancelOnDisconnect
from proxy.http.server.exchange import EXCHANGE, Exchange
from proxy.http.server.limits import ConnectionLimits
from proxy.telemetry.access_record import RECORD
from proxy.telemetry.metrics import Telemetry
from proxy.telemetry.request_line import HEALTH
from proxy.webhooks.callback_url import ROUTE as CALLBACK_ROUTE
from proxy.webhooks.receiver import WebhookReceiver

# Routes below the prefix that the pages serve and authenticate themselves. All others are the gateway's, so that a
# request without a session does not learn which routes there are.
_SESSION = b"/session"  # the only route that takes DELETE
_PAGES = (b"/openapi.json", b"/usage", _SESSION)
# The peer in Starlette's TestClient. Where it is no context, each request has an event loop of its own.
_TEST_CLIENT = ("testclient", 50000)
_CLIENT_GONE = 499  # nginx's status for the log; it is never sent, because the caller has disconnected


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ActiveGateway:
    """Objects that serve requests; a reload of the configuration replaces all of them at once.

    *pages* serves what is not the gateway's. *headers* are fields of every response, which our own connections add.
    """

    gateway: Gateway
    callbacks: WebhookReceiver | None
    pages: ASGIApp
    public_origin: str
    base_path: BasePath
    allowed_hosts: frozenset[bytes]
    client_address: ClientAddress
    cors: Cors
    telemetry: Telemetry
    limits: ConnectionLimits
    headers: Fields


class GatewayProvider(Protocol):
    """The application, as far as its middleware reads it."""

    loop: asyncio.AbstractEventLoop | None

    @property
    def active(self) -> ActiveGateway:
        """Serves the requests that arrive now."""

    async def start(self) -> None:
        """Starts on the running event loop, where no lifespan has done so."""

    async def pause(self) -> None:
        """Stops on an event loop that is about to end."""


class GatewayMiddleware:
    """Middleware that sends requests to the gateway, webhooks to their receiver, others to the pages."""

    def __init__(self, app: ASGIApp, provider: GatewayProvider) -> None:
        self._app = app
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_test_client = False
        if self._provider.loop is not asyncio.get_running_loop():
            await self._provider.start()
            is_test_client = scope.get("client") == _TEST_CLIENT
        call = Call(self._provider.active, scope, receive, send)
        try:
            await call.respond()
        finally:
            call.close()
        if is_test_client:
            await self._provider.pause()


class Call:
    """One request and its response."""

    __slots__ = ("_active", "_exchange", "_extra", "_path", "_receive", "_record", "_scope", "_send")

    def __init__(self, active: ActiveGateway, scope: Scope, receive: Receive, send: Send) -> None:
        self._active = active
        self._scope = scope
        self._exchange = _exchange(scope)
        self._receive = receive if self._exchange is not None else TimedReceive(receive, active.limits)
        self._send = send
        self._path: bytes = scope["raw_path"] if self._exchange is not None else raw_path(scope)
        self._record = active.telemetry.open(scope["method"], self._path)

    def close(self) -> None:
        """Counts and logs the request, without the end of a callback URL, which is a credential."""
        if CALLBACK_ROUTE in self._path:
            self._record.path = self._path.partition(CALLBACK_ROUTE)[0] + CALLBACK_ROUTE
        self._active.telemetry.close(self._record)

    async def respond(self) -> None:
        scope, record = self._scope, self._record
        cors = self._active.cors.fields(scope["headers"])
        self._extra = cors if self._exchange is not None else (*cors, *self._active.headers)
        try:
            response: Response | StreamingResponse | None = await self._handle()
        except Refusal as refusal:
            record.record_refusal(refusal)
            response = error_response(refusal)
        except ClientGone:
            record.status = _CLIENT_GONE
            return
        except Exception as error:  # noqa: BLE001 last resort: a defect must be logged once, be answered, and stop nothing
            record.record_failure(error)
            response = error_response(InternalError())
        if response is None:
            return
        record.status = response.status
        if record.trace is not None and (trace := record.trace.dump()) is not None:
            self._extra = (*self._extra, (b"x-gateway-trace", trace))
        if isinstance(response, StreamingResponse):
            await self._stream(response)
        else:
            await self._send_whole(response)

    async def _handle(self) -> Response | StreamingResponse | None:
        """Returns the gateway's response, or None where a page has sent its own."""
        active, scope = self._active, self._scope
        if self._exchange is None:
            check_request_line(scope["http_version"], self._path)
        location = active.base_path.locate(scope.get("root_path", ""), self._path)
        hosts = frozenset() if location.is_health else active.allowed_hosts
        methods = (*METHODS, "DELETE") if location.route == _SESSION else METHODS
        fields_by_name = check_request(scope, allowed_hosts=hosts, methods=methods)
        if scope["method"] == "OPTIONS":
            preflight = active.cors.preflight("OPTIONS", scope["headers"])
            if preflight is not None:
                return preflight
        if location.is_health:
            self._record.action = HEALTH
            await self._page(location, {})
            return None
        request = self._request(location, fields_by_name)
        if location.route is not None:
            if active.callbacks is not None and location.route.startswith(CALLBACK_ROUTE):
                return await active.callbacks.handle(request, self._record)
            if location.route.startswith(b"/") and location.route not in _PAGES:
                return await active.gateway.handle(request, self._record)
        await self._page(location, {REQUEST: request})
        return None

    def _request(self, location: Location, fields_by_name: Mapping[bytes, bytes]) -> Request:
        scope = self._scope
        self._record.address = address = self._active.client_address.resolve(scope)
        return Request(
            scope["method"],
            location.path if location.route is None else location.route,
            scope["query_string"],
            scope["headers"],
            fields_by_name,
            address,
            self._receive,
            self._active.public_origin + location.base,
            self._exchange,
        )

    async def _page(self, location: Location, more: Mapping[str, object]) -> None:
        """Runs the application of the pages, which knows no root path."""
        scope = {**self._scope, **more, RECORD: self._record, "root_path": ""}
        if self._scope.get("root_path"):
            scope |= {"path": unquote(location.path.decode("latin-1")), "raw_path": location.path}
        await self._active.pages(scope, self._receive, self._protected)

    async def _send_whole(self, response: Response) -> None:
        """Sends *response* in one write where our own connection class carries it, else by two ASGI messages."""
        self._record.response_bytes = len(response.body)
        request_id = self._record.request_id.encode("ascii")
        # Under a mount the host may have put its own middleware around *send*, which the exchange would pass by.
        if self._exchange is not None and not self._scope.get("root_path") and CLOSE not in response.headers:
            head = response.head(request_id, self._extra)
            if self._exchange.answer(response.status, head, response.body):
                return
        fields = response.wire_headers(request_id, self._extra)
        await self._send({"type": "http.response.start", "status": response.status, "headers": fields})
        await self._send({"type": "http.response.body", "body": response.body})

    async def _stream(self, response: StreamingResponse) -> None:
        """Sends *response*. Returning before the last message makes the server cut the connection."""
        disconnect = CancelOnDisconnect(self._receive, self._exchange)
        if await response.deliver(disconnect, self._send, self._record, self._extra):
            await self._send({"type": "http.response.body", "body": b""})

    async def _protected(self, message: Message) -> None:
        """Sends a message of a page, with the fields of every response that the page does not set itself."""
        if message["type"] == "http.response.start":
            self._record.status = message["status"]
            own = {name for name, _ in message["headers"]}
            common = [*PROTECTIVE, (b"x-fal-request-id", self._record.request_id.encode("ascii"))]
            added = [(name, value) for name, value in common if name not in own]
            message = {**message, "headers": [*message["headers"], *added, *self._extra]}
        await self._send(message)


def _exchange(scope: Scope) -> Exchange | None:
    """Returns the exchange of our own connection class, None under another server."""
    extensions = scope.get("extensions")
    exchange = extensions.get(EXCHANGE) if extensions else None
    return exchange if isinstance(exchange, Exchange) else None
