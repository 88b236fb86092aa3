"""ASGI middleware that carries out a fault on one route, down to the connection."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.sandbox.accounts import key_id, unknown_key
from proxy.sandbox.connection import Connection, wait_disconnect
from proxy.sandbox.faults import Action, Fault, FaultSet, Kind
from proxy.sandbox.responses import FalResponse, account_locked, infrastructure_error, new_id, reason_phrase

NON_HTTP_BYTES = b"\x15\x03\x01\x00\x02\x02\x50 this is not HTTP\r\n\r\n"
INVALID_JSON = b'{"status": "IN_QUE'


class FaultInjection:
    """Middleware of one route: calls *app* unless a fault matches *action*."""

    def __init__(self, app: ASGIApp, *, action: Action, faults: FaultSet, closing: asyncio.Event) -> None:
        self._app = app
        self._action = action
        self._faults = faults
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = Headers(scope=scope).get("authorization", "")
        fault = self._faults.draw(self._action, key_id(authorization))
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay)
        if fault.after:
            await self._app(scope, receive, _discard)
        connection: Connection = scope["sandbox.connection"]
        match fault.kind:
            case Kind.LATENCY:
                await self._app(scope, receive, send)
            case Kind.CONTENT_TYPE:
                await self._app(scope, receive, _as_html(send))
            case Kind.TRUNCATE:
                await _truncate(self._app, scope, receive, send)
            case Kind.HANG:
                await self._hang(receive)
            case Kind.RESET:
                connection.reset()
                await wait_disconnect(receive)
            case Kind.GARBAGE:
                connection.close_after(NON_HTTP_BYTES)
                await wait_disconnect(receive)
            case _:
                response = _fault_response(fault)
                response.headers.update(fault.headers)
                await response(scope, receive, send)

    async def _hang(self, receive: Receive) -> None:
        waits = [asyncio.ensure_future(wait_disconnect(receive)), asyncio.ensure_future(self._closing.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _fault_response(fault: Fault) -> Response:
    if fault.kind is Kind.REDIRECT:
        return Response(status_code=302, headers={"location": fault.location})
    if fault.kind is Kind.NOT_JSON:
        return Response(INVALID_JSON, media_type="application/json")
    if fault.html and fault.kind is Kind.STATUS:
        title = f"{fault.status} {reason_phrase(fault.status)}"
        page = f"<html><head><title>{title}</title></head><body>nginx</body></html>"
        return Response(page, fault.status, media_type="text/html")
    match fault.kind:
        case Kind.LOCKED:
            error = account_locked()
        case Kind.INVALID_KEY:
            error = unknown_key()
        case _:
            error = infrastructure_error(fault.status)
    return FalResponse(error.body, error.status, request_id=new_id(), headers=error.headers)


async def _discard(message: Message) -> None:
    """Drops a message of an answer that the caller must not receive."""


def _as_html(send: Send) -> Send:
    async def send_as_html(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message["headers"] if name != b"content-type"]
            message = {**message, "headers": [*headers, (b"content-type", b"text/html; charset=utf-8")]}
        await send(message)

    return send_as_html


async def _truncate(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Sends half of the first piece of the body, then closes the connection."""
    connection: Connection = scope["sandbox.connection"]
    closed = False

    async def send_half(message: Message) -> None:
        nonlocal closed
        if closed:
            return
        body = message.get("body", b"")
        if body or (message["type"] == "http.response.body" and not message.get("more_body", False)):
            closed = True
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
            connection.close_after()
        else:
            await send(message)

    await app(scope, receive, send_half)
    await wait_disconnect(receive)
