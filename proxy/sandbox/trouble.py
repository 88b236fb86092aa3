"""Carries a fault out on one route, down to the connection."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.sandbox.connection import Connection, gone
from proxy.sandbox.faults import Action, Fault, Kind, Knobs
from proxy.sandbox.replies import Reply, infrastructure, new_id, phrase

GARBAGE = b"\x15\x03\x01\x00\x02\x02\x50 this is not HTTP\r\n\r\n"
NOT_JSON = b'{"status": "IN_QUE'


class Trouble:
    """*app* answers, unless a knob for *action* strikes."""

    def __init__(self, app: ASGIApp, *, action: Action, knobs: Knobs, closing: asyncio.Event) -> None:
        self._app = app
        self._action = action
        self._knobs = knobs
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._knobs.draw(self._action)
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay)
        if fault.after:
            await self._app(scope, receive, _swallow)
        connection: Connection = scope["sandbox.connection"]
        match fault.kind:
            case Kind.LATENCY:
                await self._app(scope, receive, send)
            case Kind.CONTENT_TYPE:
                await self._app(scope, receive, _as_html(send))
            case Kind.TRUNCATE:
                await _truncated(self._app, scope, receive, send)
            case Kind.HANG:
                await self._hang(receive)
            case Kind.RESET:
                connection.reset()
                await gone(receive)
            case Kind.GARBAGE:
                connection.hang_up(GARBAGE)
                await gone(receive)
            case _:
                answer = _answer(fault)
                answer.headers.update(fault.headers)
                await answer(scope, receive, send)

    async def _hang(self, receive: Receive) -> None:
        waits = [asyncio.ensure_future(gone(receive)), asyncio.ensure_future(self._closing.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _answer(fault: Fault) -> Response:
    if fault.kind is Kind.REDIRECT:
        return Response(status_code=302, headers={"location": fault.location})
    if fault.kind is Kind.NOT_JSON:
        return Response(NOT_JSON, media_type="application/json")
    if fault.html:
        page = f"<html><head><title>{fault.status} {phrase(fault.status)}</title></head><body>nginx</body></html>"
        return Response(page, fault.status, media_type="text/html")
    error = infrastructure(fault.status)
    return Reply(error.body, error.status, request_id=new_id(), headers=error.headers)


async def _swallow(message: Message) -> None:
    """Where an answer goes that the caller never gets."""


def _as_html(send: Send) -> Send:
    async def send_as_html(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message["headers"] if name != b"content-type"]
            message = {**message, "headers": [*headers, (b"content-type", b"text/html; charset=utf-8")]}
        await send(message)

    return send_as_html


async def _truncated(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Half of the first piece of the body, then the end of the connection."""
    connection: Connection = scope["sandbox.connection"]
    cut = False

    async def send_half(message: Message) -> None:
        nonlocal cut
        if cut:
            return
        body = message.get("body", b"")
        if body or (message["type"] == "http.response.body" and not message.get("more_body", False)):
            cut = True
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
            connection.hang_up()
        else:
            await send(message)

    await app(scope, receive, send_half)
    await gone(receive)
