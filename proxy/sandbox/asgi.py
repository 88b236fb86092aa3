"""Outermost ASGI layer of each host: reads the body, logs the request, marks the answer."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.sandbox.accounts import Accounts, key_id
from proxy.sandbox.connection import Connection
from proxy.sandbox.request_log import LoggedRequest, RequestLog, digest
from proxy.sandbox.responses import FalResponse, infrastructure_error, new_id


class AsgiApp:
    """ASGI application around *app*.

    *surface*: the host's name in the log. *max_body*: bytes; a longer body is 413.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        surface: str,
        request_log: RequestLog,
        accounts: Accounts,
        max_body: int,
        clock: Callable[[], float],
    ) -> None:
        self._app = app
        self._surface = surface
        self._request_log = request_log
        self._accounts = accounts
        self._max_body = max_body
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, complete = await _read_body(receive, self._max_body)
        self._log(scope, body)
        if len(body) > self._max_body:
            error = infrastructure_error(413)
            await FalResponse(error.body, 413, request_id=new_id())(scope, receive, with_sandbox_header(send))
        elif complete:
            # The fal SDK polls with trailing slashes; the routes are written without them.
            path = scope["path"].rstrip("/") or "/"
            inner = {**scope, "path": path, "sandbox.connection": Connection.from_send(send)}
            await self._app(inner, _replay(body, receive), with_sandbox_header(send))

    def _log(self, scope: Scope, body: bytes) -> None:
        headers = [(name.decode("latin-1"), self._redacted(name, value)) for name, value in scope["headers"]]
        self._request_log.entries.append(
            LoggedRequest(
                at=self._clock(),
                surface=self._surface,
                method=scope["method"],
                path=scope.get("raw_path", scope["path"].encode()).decode("latin-1"),
                query=scope["query_string"].decode("latin-1"),
                headers=headers,
                body_sha256=digest(body),
                body_length=len(body),
                key_id=key_id(Headers(scope=scope).get("authorization", "")),
            )
        )

    def _redacted(self, name: bytes, value: bytes) -> str:
        text = value.decode("latin-1")
        if name != b"authorization":
            return text
        return "accepted" if self._accounts.accepts(text) else "refused"


def with_sandbox_header(send: Send) -> Send:
    """Returns a `send` that adds `x-sandbox: 1` to the answer."""

    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"x-sandbox", b"1")]}
        await send(message)

    return send_with_header


async def _read_body(receive: Receive, cap: int) -> tuple[bytes, bool]:
    """Returns the body and whether it is complete: False after a disconnect or more than *cap* bytes."""
    body = bytearray()
    while len(body) <= cap:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body), False
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body), len(body) <= cap
    return bytes(body), False


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again
