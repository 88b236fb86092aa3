"""One connection to the upstream: an asyncio protocol that carries one exchange at a time."""

from __future__ import annotations

import asyncio
import math
import select
from typing import cast

from proxy.errors import ConnectFailed, DeadlineExceeded, ExchangeBroken, ResponseTooLarge, TransportError
from proxy.http.client.response_parser import ResponseParser
from proxy.http.fields import Fields

HIGH_WATER = 64 * 1024  # bytes of content held for a slow reader; the same as asyncio's streams


class Connection(asyncio.Protocol):
    """Protocol of one connection: an exchange is `send`, `head`, `read` until b"", `finish`.

    Deadlines are on the loop's clock. An exchange begins with its write, so every TransportError after it has `sent`.
    Bytes that arrive while no exchange is open close the connection.
    """

    def __init__(self, *, max_head: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.idle_since = 0.0
        self._response = ResponseParser(max_head=max_head)
        self._poll = select.poll()
        self._waiter: asyncio.Future[None] | None = None
        # Bytes of a body that its reader waits for as a whole; None where the reader takes each chunk.
        self._whole_limit: int | None = None
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._error: TransportError | None = None
        self._open_exchange = False
        self._received = False
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def is_idle_and_clean(self) -> bool:
        """Returns whether the connection is open and has nothing to read.

        An idle connection that is readable is dead or poisoned. The event loop may not have read the socket since the
        peer closed it, so this polls the kernel.
        """
        transport = self._transport
        return not (transport.is_closing() or transport.get_extra_info("unfinished") or self._poll.poll(0))

    def send(self, message: bytes, content: bytes = b"") -> None:
        """Hands all of it over at once, *content* after *message*.

        Raises ConnectFailed if the connection has closed before: nothing was sent.
        """
        if self._transport.is_closing():
            raise ConnectFailed("closed by the upstream before the request")
        self._response.reset()
        self._open_exchange = True
        self._received = False
        self._whole_limit = None
        self._transport.write(message)
        if content:
            self._transport.write(content)

    async def head(self, deadline: float) -> tuple[int, Fields]:
        """Returns status and fields, with names in lower case. Raises TransportError."""
        while self._response.status == 0 or self._error is not None:
            if self._error is not None:
                raise self._error
            await self._wait(deadline)
        return self._response.status, self._response.fields

    async def read(self, deadline: float) -> bytes:
        """Returns the next content, or b"" at the end of the response.

        Raises TransportError, after the content before it.
        """
        while not self._response.buffered:
            if self._error is not None:
                raise self._error
            if self._response.ended:
                return b""
            await self._wait(deadline)
        content = self._response.read_content()
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return content

    async def read_response(self, deadline: float, max_body: int) -> tuple[int, Fields, bytes]:
        """Returns all of a response: status, fields, content. Raises TransportError."""
        self._whole_limit = max_body
        while self._error is not None or not self._is_complete(max_body):
            if self._error is not None:
                raise self._error
            await self._wait(deadline)
        self._whole_limit = None
        if max(self._response.buffered, self._response.declared) > max_body:
            self.abort()  # even if all of it has come by now
            raise ResponseTooLarge(f"more than {max_body} bytes of content", sent=True, received=True)
        return self._response.status, self._response.fields, self._response.read_content()

    def finish(self) -> bool:
        """Ends the exchange, wherever it is. Returns False where the connection is closed with it."""
        answer, self._open_exchange = self._response, False
        # An upstream that answered before it read all of the request still has the rest of it to come.
        whole = answer.ended and answer.keep_alive and self._transport.get_write_buffer_size() == 0
        if whole and not answer.buffered and self._error is None and not self._transport.is_closing():
            return True
        self._error = None  # its traceback refers to this object
        self.abort()
        return False

    def abort(self) -> None:
        """Closes at once, whatever is still buffered."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._open_exchange or self._response.ended:
            self.abort()
            return
        self._received = True
        try:
            self._response.feed(data)
        except TransportError as error:
            self._fail(error)
            return
        if self._whole_limit is not None:
            if self._is_complete(self._whole_limit):
                self._wake()
            return
        if self._response.buffered > HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._response.close()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._open_exchange and not self._response.ended:
            self._fail(ExchangeBroken(f"closed by the upstream: {exc}", sent=True, received=self._received))
        self._response.drop_parser()
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
        self.lost.set_result(None)

    async def _wait(self, deadline: float) -> None:
        self._waiter = self._loop.create_future()
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            self._arm()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _is_complete(self, most: int) -> bool:
        return self._response.ended or self._response.buffered > most or self._response.declared > most

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._expire)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _expire(self) -> None:
        """Ends an exchange at its deadline.

        One timer serves all exchanges, as setting and cancelling one costs more than all else here.
        """
        self._timer = None
        if self._waiter is None or self._waiter.done():  # what came in this very turn of the loop came in time
            return
        if self._loop.time() < self._deadline:
            self._arm()
        else:
            self._fail(DeadlineExceeded("no complete answer in time", sent=True, received=self._received))

    def _fail(self, error: TransportError) -> None:
        if self._error is None:
            self._error = error
        self.abort()
        self._wake()
