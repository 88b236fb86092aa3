"""The outermost layer of each app: reads the body, keeps the journal, marks every answer."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.connection import Connection
from proxy.sandbox.journal import Entry, Journal, digest
from proxy.sandbox.replies import Reply, infrastructure, new_id


class Front:
    def __init__(
        self,
        app: ASGIApp,
        *,
        surface: str,
        journal: Journal,
        accounts: Accounts,
        max_body: int,
        clock: Callable[[], float],
    ) -> None:
        self._app = app
        self._surface = surface
        self._journal = journal
        self._accounts = accounts
        self._max_body = max_body
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, complete = await _read(receive, self._max_body)
        self._record(scope, body)
        if len(body) > self._max_body:
            too_large = infrastructure(413)
            await Reply(too_large.body, 413, request_id=new_id())(scope, receive, marked(send))
        elif complete:
            # The fal SDK polls with trailing slashes; the routes below are written without.
            inner = {**scope, "path": scope["path"].rstrip("/") or "/", "sandbox.connection": Connection.of(send)}
            await self._app(inner, _replay(body, receive), marked(send))

    def _record(self, scope: Scope, body: bytes) -> None:
        headers = [(name.decode("latin-1"), self._shown(name, value)) for name, value in scope["headers"]]
        self._journal.entries.append(
            Entry(
                at=self._clock(),
                surface=self._surface,
                method=scope["method"],
                path=scope.get("raw_path", scope["path"].encode()).decode("latin-1"),
                query=scope["query_string"].decode("latin-1"),
                headers=headers,
                body_sha256=digest(body),
                body_length=len(body),
            )
        )

    def _shown(self, name: bytes, value: bytes) -> str:
        text = value.decode("latin-1")
        if name != b"authorization":
            return text
        return "accepted" if self._accounts.knows(text) else "refused"


def marked(send: Send) -> Send:
    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"x-sandbox", b"1")]}
        await send(message)

    return send_marked


async def _read(receive: Receive, cap: int) -> tuple[bytes, bool]:
    """The body, and whether it came whole: False when the caller left, or once it passed *cap*."""
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

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed
