"""One connection from a client: uvicorn's httptools protocol with the limits and deadlines it does not have.

uvicorn 0.54 bounds neither head, trailers nor the time a request may take, reads requests on after an Upgrade, and
answers pipelined requests from a queue of any length. Here a client that pipelines gets its first answer and a close,
which RFC 9112 section 9.3.2 obliges it to expect; so there is never more than one request on a connection.
"""

from __future__ import annotations

import asyncio
import enum
import math
from itertools import chain
from typing import Any, cast

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from proxy.door import Door
from proxy.errors import ContentTooLarge, HeadTooLarge, Overloaded, Refusal, RequestTimeout, TargetTooLong
from proxy.guards import NO_UPGRADE, check_request_line, malformed
from proxy.outlet import Outlet, refusal_bytes

# The key in the ASGI scope's extensions of a callable (status, head, body) -> bool: see `Inbound.answer`.
WHOLE_ANSWER = "fal_proxy.whole_answer"


class Phase(enum.Enum):
    """What the connection waits for."""

    IDLE = enum.auto()  # a next request
    HEAD = enum.auto()  # the rest of a head, or the first one
    BODY = enum.auto()  # the rest of a body; it may be answered already
    ANSWER = enum.auto()  # us
    ENDED = enum.auto()  # its end: nothing that comes is read


_IDLE, _HEAD, _BODY, _ANSWER, _ENDED = Phase


class Inbound(HttpToolsProtocol):
    """Deadlines are times of the loop's clock, kept by `inspect`, which the listener calls every `sweep` seconds."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], door: Door) -> None:
        super().__init__(config, server_state, app_state, asyncio.get_running_loop())
        self._door = door
        self._limits = door.limits
        self._phase = _HEAD
        self._until = self.loop.time() + self._limits.head_time
        self._surplus = 0  # bytes read of this request that are not content

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._outlet = Outlet(transport, self.loop, self._close)
        self._key = self._door.enter(self.client[0] if self.client else "")
        if self._key is None or len(self.connections) > self._limits.connections:
            self._phase = _ENDED
            self._door.report("too_many_connections")
            transport.write(refusal_bytes(Overloaded(), self.server_state.default_headers))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._phase = _ENDED
        self._outlet.close = self.transport.close  # no circle left for the collector
        if self.cycle is not None:
            self.cycle.scope.pop("extensions", None)
        self._door.leave(self._key)
        if not self.connections:
            self._door.emptied.set()

    def data_received(self, data: bytes) -> None:
        """A read can be of 256 KiB: in small steps an excess is seen before it has become objects."""
        step = self._limits.framing
        for at in range(0, len(data), step):
            if self._phase is not _ENDED:
                self._parse(data[at : at + step])

    def _parse(self, data: bytes) -> None:
        if self._phase is _IDLE:
            self._phase = _HEAD
            self._until = self.loop.time() + self._limits.head_time
        self._surplus += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Refusal) else malformed("Not HTTP/1.1"))
            return
        if self._surplus > (self._limits.head if self._phase is _HEAD else self._limits.framing):
            self._refuse(HeadTooLarge())

    def on_message_begin(self) -> None:
        if self._phase in (_ANSWER, _ENDED):
            raise malformed("One request at a time")
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._limits.target:
            raise TargetTooLong

    def on_headers_complete(self) -> None:
        self._check_head()
        super().on_headers_complete()
        self.headers = []  # trailers go here and nowhere: the application must not see them among its header fields
        self.scope["extensions"] = {WHOLE_ANSWER: self.answer}  # type: ignore[dict-item]
        cycle = self.cycle
        cycle.transport = cast(asyncio.Transport, self._outlet)
        # After an early answer nobody can tell whether the body comes yet (RFC 9110 section 10.1.1); 1.0 has no 100.
        cycle.keep_alive = cycle.keep_alive and not (self.expect_100_continue or self._door.draining)
        cycle.waiting_for_100_continue = self.expect_100_continue and self.scope["http_version"] == "1.1"
        self._phase = _BODY
        self._body_began = self.loop.time()
        self._until = self._body_began + self._limits.body_time
        self._content = self._unwanted = 0
        self._chunked = False

    def _check_head(self) -> None:
        size = len(self.url) + 4 * len(self.headers) + sum(map(len, chain.from_iterable(self.headers)))
        self._surplus -= size
        if size > self._limits.head or len(self.headers) > self._limits.fields:
            raise HeadTooLarge
        check_request_line(self.parser.get_http_version(), self.url)
        if self.parser.should_upgrade():
            # The parser would end the request here and uvicorn read the next out of its body (Kludex/uvicorn#2722).
            raise malformed(NO_UPGRADE)

    def on_chunk_header(self) -> None:
        self._chunked = True
        self._chunk_began = self._content

    def on_chunk_complete(self) -> None:
        size = b"%x" % (self._content - self._chunk_began)
        self._surplus -= len(size) + 4  # with two CRLF; what is more, leading zeros too, counts as extension

    def on_body(self, body: bytes) -> None:
        self._surplus -= len(body)
        self._content += len(body)
        if self.cycle.response_complete:
            self._unwanted += len(body)
            if self._unwanted > self._limits.drain:
                raise ContentTooLarge
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._chunked and self._surplus > self._limits.framing:
            raise HeadTooLarge
        super().on_message_complete()
        self._surplus = 0
        if self.cycle.response_complete:
            self._rest()
        else:
            self._phase = _ANSWER
            self._until = math.inf

    def on_response_complete(self) -> None:
        if self._phase is not _ENDED:
            self.flow.resume_reading()
        if self._phase is _ANSWER:
            self._rest()

    def drain(self) -> None:
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def answer(self, status: int, head: bytes, body: bytes) -> bool:
        """All of an answer in one write. *head* is its field lines, Content-Length among them and Connection not.

        False where it has to go the longer way, by messages, because the client is slow to read.
        """
        cycle = self.cycle
        if cycle.disconnected:
            return True
        if self.flow.write_paused or cycle.response_started:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        date = b"".join([b"%b: %b\r\n" % field for field in self.server_state.default_headers])
        connection = b"" if cycle.keep_alive else b"connection: close\r\n"
        content = b"" if self.scope["method"] == "HEAD" else body
        self.transport.write(b"".join((STATUS_LINE[status], date, head, connection, b"\r\n", content)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._close()
        cycle.on_response()
        return True

    def shutdown(self) -> None:
        """The listener, drained, stops: idle connections go at once, half-sent requests soon."""
        if self._phase is _IDLE or (self._phase is _HEAD and not self._surplus):
            self.transport.close()
        elif self._phase in (_HEAD, _BODY):
            self._until = min(self._until, self.loop.time() + self._limits.closing)

    def inspect(self, now: float) -> None:
        """Ends what has outstayed its time: a late request with a 408, a client that does not read with a reset."""
        may_grow = self._phase is _ANSWER and not self.flow.write_paused
        window = self._limits.stall_time
        if self._outlet.is_stalled(now, window=window, least=window * self._limits.min_rate, may_grow=may_grow):
            self._door.report("slow_reader")
            self.transport.abort()
        elif self._is_late(now):
            if self._phase is _BODY or (self._phase is _HEAD and self._surplus):
                self._refuse(RequestTimeout())
            else:
                self.transport.close()

    def _is_late(self, now: float) -> bool:
        if now >= self._until or self._phase is not _BODY:
            return now >= self._until
        return self._content < self._limits.min_rate * (now - self._body_began - self._limits.rate_grace)

    def _rest(self) -> None:
        self._phase = _IDLE
        self._until = self.loop.time() + self._limits.keep_alive
        if self._door.draining:
            self._linger()

    def _refuse(self, refusal: Refusal) -> None:
        """Nothing more is read as a request. An answer under way is finished; otherwise *refusal* is the answer."""
        phase, self._phase = self._phase, _ENDED
        self._door.report(refusal.error_type)
        if phase in (_ANSWER, _ENDED):
            self.cycle.keep_alive = False
            return
        if phase is _BODY:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if phase is not _BODY or not self.cycle.response_started:
            self.transport.write(refusal_bytes(refusal, self.server_state.default_headers))
        self._linger()

    def _close(self) -> None:
        """The exchange wants the connection closed. With bytes unread, a close would reset it and lose the answer."""
        if self._phase is _ANSWER:
            self._outlet.flush()
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        self._outlet.flush()
        self._phase = _ENDED
        self._until = self.loop.time() + self._limits.linger
        self.flow.pause_reading()
        self.transport.write_eof()
