"""One connection from a client, with limits and deadlines: never more than one request on it at a time.

Ours and not uvicorn's protocol, which bounds neither head, trailers nor the time a request may take, reads requests on
after an Upgrade, and answers pipelined requests from a queue of any length. Here a client that pipelines gets its first
answer and a close, which RFC 9112 section 9.3.2 obliges it to expect.
"""

from __future__ import annotations

import asyncio
from typing import cast
from urllib.parse import unquote

from starlette.types import ASGIApp, Scope

from proxy.errors import ContentTooLarge, Defect, Overloaded, Refusal, RequestTimeout
from proxy.http.client_address import socket_address
from proxy.http.request_checks import malformed
from proxy.http.server.exchange import EXCHANGE, Exchange
from proxy.http.server.flow_control import Outlet, refusal_bytes
from proxy.http.server.request_parser import Arrival
from proxy.http.server.state import Door
from proxy.http.server.timeouts import ANSWER, BODY, ENDED, HEAD, IDLE, Patience

_ASGI = {"version": "3.0", "spec_version": "2.3"}


class Inbound(asyncio.Protocol):
    """Deadlines are times of the loop's clock, kept by `inspect`, which the listener calls every `sweep` seconds.

    *state* is what the application's lifespan left for its requests.
    """

    def __init__(self, app: ASGIApp, state: dict[str, object], door: Door) -> None:
        self._app = app
        self._state = state
        self._door = door
        self._limits = door.limits
        self._loop = asyncio.get_running_loop()
        self._arrival: Arrival | None = Arrival(self, door.limits)
        self._exchange: Exchange | None = None
        self._patience = Patience(door.limits, self._loop.time())

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._outlet = Outlet(self.transport)
        self._client = socket_address(transport.get_extra_info("peername"))
        self._server = socket_address(transport.get_extra_info("sockname"))
        self._door.connections.add(self)
        self._key = self._door.enter(self._client[0] if self._client else "")
        if self._key is None or len(self._door.connections) > self._limits.connections:
            self._patience.phase = ENDED
            self._door.report("too_many_connections")
            self._outlet.write(refusal_bytes(Overloaded(), self._door.common))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.phase = ENDED
        if self._arrival is not None:
            self._arrival.close()
        self._arrival = None
        self._outlet.relieve()
        if self._exchange is not None:
            self._exchange.lose()
        self._exchange = None
        self._door.connections.discard(self)
        self._door.leave(self._key)
        if not self._door.connections:
            self._door.emptied.set()

    def pause_writing(self) -> None:
        self._outlet.congest()

    def resume_writing(self) -> None:
        self._outlet.relieve()

    def data_received(self, data: bytes) -> None:
        """A read can be of 256 KiB: in small steps an excess is seen before it has become objects."""
        step = self._limits.framing
        if len(data) <= step:
            self._take(data)
            return
        for at in range(0, len(data), step):
            self._take(data[at : at + step])

    def _take(self, data: bytes) -> None:
        if self._patience.phase is ENDED or self._arrival is None:
            return
        if self._patience.phase is IDLE:
            self._patience.await_head(self._loop.time())
        try:
            self._arrival.take(data)
        except Refusal as refusal:
            self._refuse(refusal)

    # What the arrival of a request calls.

    def begin(self) -> None:
        if self._patience.phase in (ANSWER, ENDED):
            raise malformed("One request at a time")
        if self._patience.phase is IDLE:  # in one read with the end of an unwanted body
            self._patience.await_head(self._loop.time())

    def head(self, arrival: Arrival) -> None:
        method, expects = arrival.method, arrival.expects
        # After an early answer nobody can tell whether the body comes yet (RFC 9110 section 10.1.1); 1.0 has no 100.
        keep_alive = arrival.version == "1.1" and arrival.keeps_alive and not (expects or self._door.draining)
        expects = expects and arrival.version == "1.1"
        exchange = Exchange(self._outlet, self._door, method, arrival.version, self._answered)
        exchange.keep_alive, exchange.expects = keep_alive, expects
        self._exchange = exchange
        self._patience.await_body(self._loop.time())
        self._unwanted = 0
        task = exchange.task = self._loop.create_task(self._run(exchange, self._scope(arrival, method, exchange)))
        self._door.tasks.add(task)

    def body(self, content: bytes) -> None:
        exchange = cast(Exchange, self._exchange)
        self._patience.content += len(content)
        if not exchange.complete:
            exchange.feed(content)
            return
        self._unwanted += len(content)
        if self._unwanted > self._limits.drain:
            raise ContentTooLarge

    def whole(self) -> None:
        exchange = cast(Exchange, self._exchange)
        if exchange.complete:
            self._rest()
        else:
            exchange.end()
            self._patience.await_answer()

    def _scope(self, arrival: Arrival, method: str, exchange: Exchange) -> Scope:
        raw_path, _, query = arrival.url.partition(b"?")
        path = raw_path.decode("latin-1")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": arrival.version,
            "method": method,
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": arrival.fields,
            "client": self._client,
            "server": self._server,
            "state": self._state.copy(),
            "extensions": {EXCHANGE: exchange},
        }

    async def _run(self, exchange: Exchange, scope: Scope) -> None:
        """What the application raises stays in the task, whose end the loop's exception handler then tells of."""
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._door.tasks.discard(exchange.task)
            exchange.on_leave = None
            if not (exchange.complete or exchange.gone):
                self._break_off(exchange)

    def _answered(self, exchange: Exchange) -> None:
        if not exchange.keep_alive:
            self._close()
        if self._patience.phase is not ENDED:
            self._outlet.release()
        if self._patience.phase is ANSWER:
            self._rest()

    # What the listener calls.

    def drain(self) -> None:
        if self._exchange is not None:
            self._exchange.keep_alive = False

    def shutdown(self) -> None:
        """The listener, drained, stops: idle connections go at once, half-sent requests soon."""
        if self._patience.phase is IDLE or (self._patience.phase is HEAD and not self._is_begun()):
            self.transport.close()
        elif self._patience.phase in (HEAD, BODY):
            self._patience.hurry(self._loop.time())

    def inspect(self, now: float) -> None:
        """Ends what has outstayed its time: a late request with a 408, a client that does not read with a reset."""
        may_grow = self._patience.phase is ANSWER and not self._outlet.is_congested
        window = self._limits.stall_time
        if self._outlet.is_stalled(now, window=window, least=window * self._limits.min_rate, may_grow=may_grow):
            self._door.report("slow_reader")
            self.transport.abort()
        elif self._patience.is_over(now):
            if self._patience.phase is BODY or (self._patience.phase is HEAD and self._is_begun()):
                self._refuse(RequestTimeout())
            else:
                self.transport.close()

    def _is_begun(self) -> bool:
        return self._arrival is not None and self._arrival.is_begun

    def _rest(self) -> None:
        self._patience.rest(self._loop.time())
        if self._door.draining:
            self._linger()

    def _refuse(self, refusal: Refusal) -> None:
        """Nothing more is read as a request. An answer under way is finished; otherwise *refusal* is the answer."""
        phase, self._patience.phase = self._patience.phase, ENDED
        exchange = self._exchange
        self._door.report(refusal.error_type)
        if phase in (ANSWER, ENDED):
            if exchange is not None:
                exchange.keep_alive = False
            return
        if phase is BODY and exchange is not None:
            exchange.leave()
        if phase is not BODY or exchange is None or not exchange.started:
            self._outlet.write(refusal_bytes(refusal, self._door.common))
        self._linger()

    def _break_off(self, exchange: Exchange) -> None:
        """The application ended without an answer, or in the middle of one, which must not look like a whole one."""
        if exchange.started:
            exchange.cut()
        else:
            self._outlet.write(refusal_bytes(Defect(), self._door.common))
            exchange.gone = True
            self._close()

    def _close(self) -> None:
        """The exchange wants the connection closed. With bytes unread, a close would reset it and lose the answer."""
        if self._patience.phase is ANSWER:
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        if self._exchange is not None:
            self._exchange.flush()
        self._patience.linger(self._loop.time())
        self._outlet.hold()
        self.transport.write_eof()
