"""TLS of a client, between a TCP transport and a protocol.

The event loops' own TLS has faults that lose a paid response. When the peer closes, uvloop's drops bytes that a paused
reader has not read (MagicStack/uvloop#661). asyncio's reports a cut connection as a closed one (compare
MagicStack/uvloop#385). Neither reports half a record. `tests/unit/http/client/test_stock_tls.py` shows both faults;
when it fails, this module can be weighed again.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import cast

_RECORD = 16 * 1024  # bytes of content at most (RFC 8446 section 5.1), so one read never gives more


class TlsLayer(asyncio.Transport, asyncio.Protocol):
    """Protocol of a TCP transport, and transport of *protocol* once the peer is verified as *host*.

    *protocol* gets `eof_received` only if the peer sent a close_notify. The result of `established` is None
    or the error that ended the handshake.
    """

    def __init__(self, protocol: asyncio.Protocol, context: ssl.SSLContext, host: str) -> None:
        super().__init__()
        self.established: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._protocol = protocol
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._secure = False
        self._paused = False
        self._unfinished = False
        self._error: Exception | None = None

    # What the TCP transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_closing = transport.is_closing  # type: ignore[method-assign]
        self._handshake()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if not self._secure:
            self._handshake()
        if self._secure:
            self._deliver()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(exc or ConnectionResetError("closed during the TLS handshake"))
        if self._secure:
            self._protocol.connection_lost(exc or self._error)

    # What the protocol calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._session.write(data)
        except ssl.SSLError as error:
            self._abort_with(error)
        self._flush()

    def pause_reading(self) -> None:
        self._paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._transport.resume_reading()
        self._deliver()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def abort(self) -> None:
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Returns facts of the connection. `unfinished` is True where the last bytes were not a whole record."""
        return self._unfinished if name == "unfinished" else self._transport.get_extra_info(name, default)

    def _handshake(self) -> None:
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the alert that tells the peer why
            self._transport.close()
            self._settle(error)
        else:
            self._flush()
            self._secure = True
            self._protocol.connection_made(self)
            self._settle(None)

    def _deliver(self) -> None:
        while not self._paused and not self.is_closing() and (self._incoming.pending or self._session.pending()):
            try:
                # No record is longer in clear than it came, so nothing like 16 KiB is set aside for a short one.
                content = self._session.read(min(_RECORD, self._incoming.pending + self._session.pending()))
            except ssl.SSLWantReadError:
                self._unfinished = True
                break
            except ssl.SSLError as error:
                self._abort_with(error)
                break
            self._unfinished = False
            if content:
                self._protocol.data_received(content)
            else:
                self._protocol.eof_received()
                self._transport.close()
        self._flush()

    def _flush(self) -> None:
        """Sends what the session has to say, answers to a key update among it."""
        if self._outgoing.pending and not self.is_closing():
            self._transport.write(self._outgoing.read())

    def _abort_with(self, error: ssl.SSLError) -> None:
        self._error = error
        self._transport.abort()

    def _settle(self, error: Exception | None) -> None:
        if not self.established.done():
            self.established.set_result(error)


async def secure(protocol: asyncio.Protocol, connected: socket.socket, context: ssl.SSLContext, host: str) -> None:
    """Gives *protocol* a TLS session with *host* over *connected*.

    Raises OSError, ssl.SSLError among them.

    A session that failed or was cancelled is closed.
    """
    layer = TlsLayer(protocol, context, host)
    await asyncio.get_running_loop().create_connection(lambda: layer, sock=connected)
    try:
        error = await layer.established
    except asyncio.CancelledError:
        layer.abort()
        raise
    if error is not None:
        raise error


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Verifies the peer against *ca_file*, or the system's authorities.

    TLS 1.2 or newer, HTTP/1.1 by ALPN.

    Not `ssl.create_default_context`: that writes the session keys to the file SSLKEYLOGFILE names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca_file)
    return context
