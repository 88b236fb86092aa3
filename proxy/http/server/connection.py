"""HTTP/1.1 connection of a client, with limits and deadlines, for uvicorn's `http` setting.

uvicorn's own classes limit neither head, trailers nor the time of a request. They read requests after an Upgrade, and
answer pipelined requests from a queue of any length. Here a client that pipelines gets its first response and a close,
which it must expect (RFC 9112 section 9.3.2).
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import chain
from typing import cast
from urllib.parse import unquote

import httptools
import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.server import ServerState

from proxy.errors import (
    ContentTooLarge,
    HeadTooLarge,
    InternalError,
    Overloaded,
    Refusal,
    RequestTimeout,
    TargetTooLong,
)
from proxy.http.client_address import socket_address
from proxy.http.request_checks import NO_UPGRADE, check_request_line, malformed
from proxy.http.server.exchange import EXCHANGE, Exchange
from proxy.http.server.flow_control import STATUS_LINES, FlowControl, closing_response
from proxy.http.server.load_limit import AT_ONCE
from proxy.http.server.request_head import RequestHead
from proxy.http.server.state import SharedState, Waiting, shared_state
from proxy.http.server.timeouts import ANSWER, BODY, ENDED, HEAD, IDLE, MOMENT, RequestTimeouts

_BUSY = (BODY, ANSWER)
_OVERLOADED = STATUS_LINES[Overloaded.status]
_ASGI = {"version": "3.0", "spec_version": "2.3"}


class HttpConnection(asyncio.Protocol):
    """Protocol of one connection and callbacks of its parser: one request at a time.

    The limits come from *shared*, else from the SharedState that the application's lifespan left in *app_state*.
    Deadlines are times of the loop's clock; `check_timeouts` enforces them.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        shared: SharedState | None = None,
    ) -> None:
        self._app = cast(ASGIApp, config.loaded_app)
        self._root_path = config.root_path
        self._server_state = server_state
        self._app_state = app_state
        self._shared = shared or shared_state(app_state)
        self._limits = self._shared.limits
        self._loop = _loop or asyncio.get_running_loop()
        self._exchange: Exchange | None = None
        self._timeouts = RequestTimeouts(self._limits, self._loop.time())
        self._parser = httptools.HttpRequestParser(self)
        # Bytes after a request that closes its connection are no error of the parser: they are counted, and not parsed.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._framing = 0  # bytes read of this request that are not content
        self._in_head = True
        self._in_message = False
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._flow = FlowControl(self.transport)
        self._client = socket_address(transport.get_extra_info("peername"))
        self._server = socket_address(transport.get_extra_info("sockname"))
        self._scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        self._peer = self._client[0] if self._client else ""
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._shared.add(self, self._server_state)
        self._slot = self._shared.acquire_slot(self._peer)
        if self._slot is None or len(self._shared.connections) > self._limits.connections:
            self._timeouts.phase = ENDED
            self._shared.on_rejected("too_many_connections", self._peer, 1)
            self._flow.write(closing_response(Overloaded(), self._shared.default_headers))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timeouts.phase = ENDED
        del self._parser  # it refers to this object, and would keep it until the garbage collector runs
        self._flow.resume_writing()
        if self._exchange is not None:
            self._exchange.on_connection_lost()
        self._exchange = None
        self._server_state.connections.discard(self)
        self._shared.connections.discard(self)
        self._shared.release_slot(self._slot)

    def pause_writing(self) -> None:
        self._flow.pause_writing()

    def resume_writing(self) -> None:
        self._flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parses in small steps: a read can be 256 KiB, and an excess is seen before it becomes objects."""
        step = self._limits.framing
        if len(data) <= step:
            self._feed(data)
            return
        for at in range(0, len(data), step):
            self._feed(data[at : at + step])

    def _feed(self, data: bytes) -> None:
        if self._timeouts.phase is ENDED:
            return
        load, running = self._shared.overload, self._shared.in_flight
        if load is not None and running >= load.load_limit.begins_at and self._refuse_at_once(data):
            return
        if self._timeouts.phase is IDLE:
            self._timeouts.start_head(self._loop.time())
        try:
            self.parse(data)
        except Refusal as refusal:
            self._refuse(refusal)

    def _refuse_at_once(self, data: bytes) -> bool:
        """Answers a whole request of an overloaded process without parsing it, where it can be."""
        shared = self._shared
        if shared.overload is None or self.has_begun or shared.draining or self._flow.is_congested:
            return False
        refusal = None if self._timeouts.phase in _BUSY else shared.overload.refusal(data, shared.in_flight)
        if refusal is not None:
            self._flow.write(b"".join((_OVERLOADED, shared.default_headers, refusal)))
            self._timeouts.start_idle(self._loop.time())
            self._server_state.total_requests += 1
            shared.overloaded[self._peer] += 1
        return refusal is not None

    def parse(self, data: bytes) -> None:
        """Raises BadRequest, TargetTooLong, HeadTooLarge and ContentTooLarge."""
        self._framing += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # The exception of a callback, a Refusal or a defect, is the context of the parser's own error.
            raise error.__context__ or malformed("Not HTTP/1.1") from error
        if self._framing > (self._limits.head if self._in_head else self._limits.framing):
            raise HeadTooLarge

    # Called by the parser, in this order.

    def on_message_begin(self) -> None:
        phase = self._timeouts.phase
        if phase is ANSWER or phase is ENDED:
            raise malformed("One request at a time")
        if phase is IDLE:  # in one read with the end of an unwanted body
            self._timeouts.start_head(self._loop.time())
        self._in_message = True
        self._url = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.target:
            raise TargetTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        size = len(self._url) + 4 * len(self._fields) + sum(map(len, chain.from_iterable(self._fields)))
        self._framing -= size
        if size > self._limits.head or len(self._fields) > self._limits.fields:
            raise HeadTooLarge
        version = str(parser.get_http_version())
        check_request_line(version, self._url)
        if parser.should_upgrade():
            # The parser would end the request here and the next be read out of its body (Kludex/uvicorn#2722).
            raise malformed(NO_UPGRADE)
        self._in_head = self._chunked = False
        self._content = 0
        method, keep_alive = str(parser.get_method(), "ascii"), bool(parser.should_keep_alive())
        self.start_exchange(RequestHead(method, self._url, version, self._fields, keep_alive))
        self._fields = []  # trailers go here and nowhere: the application must not see them among its header fields

    def start_exchange(self, head: RequestHead) -> None:
        """Runs the application for a request whose head is complete."""
        expects, is_1_1 = head.expects, head.version == "1.1"
        exchange = Exchange(self._flow, self._shared, head.method, head.version, self._on_response_complete)
        # After an early answer it is open whether the body will come (RFC 9110 section 10.1.1); 1.0 has no 100.
        exchange.keep_alive = is_1_1 and head.keep_alive and not (expects or self._shared.draining)
        exchange.expects = expects and is_1_1
        self._exchange = exchange
        self._timeouts.start_body(self._loop.time())
        self._unwanted = 0
        self._server_state.total_requests += 1
        load, running = self._shared.overload, self._shared.in_flight
        if load is not None and running >= load.load_limit.begins_at and load.refuses(exchange, head, running):
            self._shared.overloaded[self._peer] += 1
            return
        scope = self._scope(head, exchange)
        if running >= AT_ONCE and self._shared.must_wait(exchange, head):
            waiting = Waiting(
                partial(self._start, exchange, scope), partial(self._end_response, exchange, Overloaded())
            )
            self._shared.waiting.append(waiting)
        else:
            self._start(exchange, scope)

    def _start(self, exchange: Exchange, scope: Scope) -> None:
        self._shared.unstarted -= exchange.in_flight
        task = exchange.task = self._loop.create_task(self._run(exchange, scope))
        self._server_state.tasks.add(task)

    def on_chunk_header(self) -> None:
        self._chunked = True
        self._chunk_start = self._content

    def on_chunk_complete(self) -> None:
        size = b"%x" % (self._content - self._chunk_start)
        self._framing -= len(size) + 4  # with two CRLF; what is more, leading zeros too, counts as extension

    def on_body(self, content: bytes) -> None:
        self._framing -= len(content)
        self._content += len(content)
        self.receive_body(content)

    def receive_body(self, content: bytes) -> None:
        """Hands *content* to the application, or skips it after an early answer. Raises ContentTooLarge."""
        exchange = self._exchange
        self._timeouts.content = self._content
        if exchange is not None and not exchange.complete:
            exchange.on_body(content)
            return
        self._unwanted += len(content)
        if self._unwanted > self._limits.drain:
            raise ContentTooLarge

    def on_message_complete(self) -> None:
        # This read may hold some of a next request, which counts too: too strict with one that pipelines kilobytes.
        if self._chunked and self._framing > self._limits.framing:
            raise HeadTooLarge
        self._framing = 0  # what this read holds of a next request is not counted: its limits are looser by so much
        self._in_message = False
        self._in_head = True
        self.finish_request()

    def finish_request(self) -> None:
        if self._timeouts.phase is ENDED:  # refused by its head
            return
        exchange = self._exchange
        if exchange is None or exchange.complete:
            self._become_idle()
        else:
            exchange.on_request_complete()
            if exchange.task is None or not exchange.task.done():
                exchange.in_flight = True
                self._shared.in_flight += 1
                self._shared.unstarted += exchange.task is None
            self._timeouts.start_response()

    def _scope(self, head: RequestHead, exchange: Exchange) -> Scope:
        raw_path, _, query = head.url.partition(b"?")
        path = raw_path.decode("latin-1")
        if self._root_path:
            raw_path = self._root_path.encode("latin-1") + raw_path
            path = self._root_path + path
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "method": head.method,
            "scheme": self._scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": self._root_path,
            "headers": head.fields,
            "client": self._client,
            "server": self._server,
            "state": self._app_state.copy(),
            "extensions": {EXCHANGE: exchange},
        }

    async def _run(self, exchange: Exchange, scope: Scope) -> None:
        """Runs the application; an exception ends the task, and the loop's exception handler reports it."""
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # by the server, whose time to shut down is over
            self._shared.drop_waiting()
            raise
        finally:
            if exchange.task is not None:
                self._server_state.tasks.discard(exchange.task)
            exchange.on_leave = None
            self._shared.in_flight -= exchange.in_flight
            self._shared.answered += 1
            if exchange.rank is not None and self._shared.overload is not None:
                self._shared.overload.leave(exchange)
            self._end_response(exchange, InternalError())
            if self._shared.waiting:
                self._shared.start_waiting()

    def _on_response_complete(self, exchange: Exchange) -> None:
        if not exchange.keep_alive:
            self._close()
        if self._timeouts.phase is not ENDED:
            self._flow.resume_reading()
        if self._timeouts.phase is ANSWER:
            self._become_idle()

    # Called by the server and by the shared state.

    def drain(self) -> None:
        if self._exchange is not None:
            self._exchange.keep_alive = False

    def shutdown(self) -> None:
        """Prepares for the end of a server that has stopped accepting.

        An idle connection is not closed at once: its client may be sending a request, which would be lost.
        """
        self._shared.shutdown()
        if self._timeouts.phase in (IDLE, HEAD, BODY):
            self._timeouts.shorten(self._loop.time())

    def check_timeouts(self, now: float) -> None:
        """Ends a late request with a 408, and the connection of a client that does not read with a reset."""
        may_grow = self._timeouts.phase is ANSWER and not self._flow.is_congested
        window = self._limits.stall_time * (1 - MOMENT)
        left = self._flow.unread(self._timeouts.idle_period(now))
        if self._flow.is_stalled(now, left, window=window, least=window * self._limits.min_rate, may_grow=may_grow):
            self._shared.on_rejected("slow_reader", self._peer, 1)
            self._flow.reset()
        elif self._timeouts.expired(now):
            if self._timeouts.phase is BODY or (self._timeouts.phase is HEAD and self.has_begun):
                self._refuse(RequestTimeout())
            else:
                self.transport.close()

    @property
    def has_begun(self) -> bool:
        """True while some of a request has come, and its end has not."""
        return self._in_message or self._framing > 0

    def _become_idle(self) -> None:
        self._timeouts.start_idle(self._loop.time())
        if self._shared.draining:
            self._linger()

    def _refuse(self, refusal: Refusal) -> None:
        """Answers with *refusal*, or finishes the answer under way; parses nothing more."""
        phase, self._timeouts.phase = self._timeouts.phase, ENDED
        exchange = self._exchange
        self._shared.on_rejected(refusal.error_type, self._peer, 1)
        if phase in (ANSWER, ENDED):
            if exchange is not None:
                exchange.keep_alive = False
            return
        if phase is BODY and exchange is not None:
            exchange.on_disconnect()
        if phase is not BODY or exchange is None or not exchange.started:
            self._flow.write(closing_response(refusal, self._shared.default_headers))
        self._linger()

    def _end_response(self, exchange: Exchange, refusal: Refusal) -> None:
        """Ends an exchange without a complete response, so that a part of one does not look like a whole one."""
        if exchange.complete or exchange.gone:
            return
        if exchange.started:
            exchange.abort()
        else:
            self._flow.write(closing_response(refusal, self._shared.default_headers))
            exchange.gone = True
            self._close()

    def _close(self) -> None:
        """Closes as the exchange demands. With bytes unread, a close would reset, and the response be lost."""
        if self._timeouts.phase is ANSWER:
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        if self._exchange is not None:
            self._exchange.flush()
        self._timeouts.start_linger(self._loop.time())
        self._flow.pause_reading()
        if self.transport.can_write_eof():  # TLS has no half-close
            self.transport.write_eof()
