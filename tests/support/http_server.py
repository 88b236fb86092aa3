"""Support of the server's tests: a listener with short deadlines, on the loop of production."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Literal, ParamSpec

import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send
from support.raw_http import PATIENCE

from proxy.errors import ClientGone, Refusal
from proxy.http.client_address import Network
from proxy.http.request_body import BodyBudget, read_body
from proxy.http.request_checks import check_request
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.server import HttpServer
from proxy.http.server.state import SharedState

P = ParamSpec("P")

QUICK = ConnectionLimits(head_time=0.2, body_time=0.2, linger=0.005, closing=0.1, sweep=0.005)


def on_uvloop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Runs *test* on uvloop, whose transports are not asyncio's."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def listening(
    app: ASGIApp,
    limits: ConnectionLimits = QUICK,
    *,
    trusted: Sequence[Network] = (),
    lifespan: Literal["on", "off"] = "off",
    report: Callable[[str], None] = lambda _: None,
    sock: socket.socket | None = None,
) -> AsyncIterator[HttpServer]:
    def report_each(error_type: str, peer: str, count: int) -> None:
        for _ in range(count):
            report(error_type)

    listener = HttpServer(app, shared=SharedState(limits, trusted, report_each), lifespan=lifespan)
    await listener.start(sock=sock)
    try:
        yield listener
    finally:
        await listener.stop(grace=PATIENCE)


class Wire:
    """A transport that records its calls, with a buffer of a given size."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.calls: list[str] = []
        self.unsent = 0

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> None:
        """Returns None: there is no socket."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


class Recorder:
    """An application behind the guards that takes down every request it hears in full."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.scopes: list[Scope] = []
        self.cut = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            fields = check_request(scope)
            with BodyBudget().hold() as hold:
                content = await read_body(receive, fields, limit=2_000_000, hold=hold)
        except ClientGone:
            self.cut += 1
        except Refusal as refusal:
            await answer(send, b"refused", refusal.status, *refusal.headers)
        else:
            self.scopes.append(scope)
            self.heard.append((scope["raw_path"], content))
            await answer(send, b"heard")


async def answer(send: Send, body: bytes, status: int = 200, *fields: tuple[bytes, bytes]) -> None:
    headers = [(b"content-length", b"%d" % len(body)), *fields]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
