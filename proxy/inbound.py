"""One connection from a client: uvicorn's httptools protocol with the limits and deadlines it does not have.

uvicorn 0.54 bounds neither head, trailers nor the time a request may take, reads requests on after an Upgrade, and
answers pipelined requests from a queue of any length. Here a client that pipelines gets its first answer and a close,
which RFC 9112 section 9.3.2 obliges it to expect; so there is never more than one request on a connection.
"""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
import orjson
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from proxy.door import Door
from proxy.errors import CLOSE, ContentTooLarge, HeadTooLarge, Overloaded, Refusal, RequestTimeout, TargetTooLong
from proxy.guards import check_framing, malformed

_CHUNK_FRAME = 12  # bytes a chunk may take beside its content: eight digits and two CRLF; more counts as extension


class Phase(enum.Enum):
    """What the connection waits for."""

    IDLE = enum.auto()  # a next request
    HEAD = enum.auto()  # the rest of a head, or the first one
    BODY = enum.auto()  # the rest of a body; it may be answered already
    ANSWER = enum.auto()  # us
    ENDED = enum.auto()  # its end: nothing that comes is read


_IDLE, _HEAD, _BODY, _ANSWER, _ENDED = Phase


@dataclass(slots=True)
class _Outlet:
    """The part of a transport that uvicorn's exchange uses, so that its close is ours."""

    write: Callable[[bytes], None]
    is_closing: Callable[[], bool]
    close: Callable[[], None]


class Inbound(HttpToolsProtocol):
    """Deadlines are times of the loop's clock, kept by `inspect`, which the listener calls every `sweep` seconds."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], door: Door) -> None:
        super().__init__(config, server_state, app_state, asyncio.get_running_loop())
        self._door = door
        self._limits = door.limits
        self._phase = _HEAD
        self._until = self.loop.time() + self._limits.head_time
        self._surplus = 0  # bytes read of this request that are not content
        self._unsent = (0.0, 0)  # since when, how much

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._outlet = _Outlet(transport.write, transport.is_closing, self._close)
        self._key = self._door.enter(self.client[0] if self.client else "")
        if self._key is None or len(self.connections) > self._limits.connections:
            self._phase = _ENDED
            self._door.report("too_many_connections")
            transport.write(self._wire(Overloaded()))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._phase = _ENDED
        self._outlet.close = self.transport.close  # no circle left for the collector
        self._door.leave(self._key)
        if not self.connections:
            self._door.emptied.set()

    def data_received(self, data: bytes) -> None:
        if self._phase is _ENDED:
            return
        if self._phase is _IDLE:
            self._await_head()
        self._surplus += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Refusal) else malformed("Not HTTP/1.1"))
            return
        if self._surplus > (self._limits.head if self._phase is _HEAD else self._limits.framing):
            self._refuse(HeadTooLarge())
        self._surplus = max(self._surplus, 0)

    def on_message_begin(self) -> None:
        if self._phase is _ANSWER:
            raise malformed("One request at a time")
        if self._phase is _IDLE:
            self._await_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._limits.target:
            raise TargetTooLong

    def on_headers_complete(self) -> None:
        self._check_head()
        super().on_headers_complete()
        self.headers = []  # trailers go here and nowhere: the application must not see them among its header fields
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
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        self._surplus -= size
        if size > self._limits.head or len(self.headers) > self._limits.fields:
            raise HeadTooLarge
        check_framing(self.parser.get_http_version(), self.url, self.headers)
        if self.parser.should_upgrade():
            raise malformed("There is nothing to upgrade to here")  # CONNECT; the parser would take its body for data

    def on_chunk_header(self) -> None:
        self._chunked = True
        self._surplus -= _CHUNK_FRAME

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

    def shutdown(self) -> None:
        """The listener stops: idle connections go at once, half-sent requests soon, the rest with its answer."""
        if self._phase is _IDLE or (self._phase is _HEAD and not self._surplus):
            self.transport.close()
        elif self._phase in (_HEAD, _BODY):
            self._until = min(self._until, self.loop.time() + self._limits.closing)
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def inspect(self, now: float) -> None:
        """Ends what has outstayed its time: a late request with a 408, a client that does not read with a reset."""
        if self._is_stalled(now):
            self._door.report("slow_reader")
            self.transport.abort()
        elif self._is_late(now):
            if self._phase is _BODY or (self._phase is _HEAD and self._surplus):
                self._refuse(RequestTimeout())
            else:
                self.transport.close()

    def _is_late(self, now: float) -> bool:
        if self._phase is not _BODY or now >= self._until:
            return now >= self._until
        return self._content < self._limits.min_rate * (now - self._body_began - self._limits.rate_grace)

    def _is_stalled(self, now: float) -> bool:
        """Only a buffer that nothing is added to tells what the client takes: a full one, or the last answer's."""
        since, before = self._unsent
        left = self.transport.get_write_buffer_size()
        judged = left and (self.flow.write_paused or self._phase is not _ANSWER)
        if judged and before - self._limits.min_rate * self._limits.stall_time < left <= before:
            return now - since >= self._limits.stall_time
        self._unsent = (now, left)
        return False

    def _await_head(self) -> None:
        self._phase = _HEAD
        self._until = self.loop.time() + self._limits.head_time

    def _rest(self) -> None:
        self._phase = _IDLE
        self._until = self.loop.time() + self._limits.keep_alive
        if self._door.draining:
            self.transport.close()

    def _refuse(self, refusal: Refusal) -> None:
        """Nothing more is read as a request. An answer under way is finished; otherwise *refusal* is the answer."""
        phase, self._phase = self._phase, _ENDED
        self._door.report(refusal.error_type)
        if phase is _ANSWER:
            self.cycle.keep_alive = False
            return
        if phase is _BODY:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if phase is _HEAD or not self.cycle.response_started:
            self.transport.write(self._wire(refusal))
        self._linger()

    def _close(self) -> None:
        """The exchange wants the connection closed. With bytes unread, a close would reset it and lose the answer."""
        if self._phase is _ANSWER:
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        self._phase = _ENDED
        self._until = self.loop.time() + self._limits.linger
        if not self.transport.is_closing():
            self.flow.pause_reading()
            self.transport.write_eof()

    def _wire(self, refusal: Refusal) -> bytes:
        body = orjson.dumps({"detail": refusal.detail, "message": refusal.detail, "error_type": refusal.error_type})
        fields = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *(field for field in refusal.headers if field != CLOSE),
            CLOSE,
        ]
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        return b"%b%b\r\n%b" % (STATUS_LINE[refusal.status], head, body)
