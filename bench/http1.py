"""Just enough HTTP/1.1 to send prebuilt requests over kept connections and see where an answer ends."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP/1.1 answer. *body* is as received: chunked content has its chunk sizes."""

    status: int
    body: bytes


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, request: bytes) -> Reply:
    """Raises OSError where the answer does not come whole."""
    connection.sendall(request)
    received = b""
    while (reply := parse(received)) is None:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("closed before the end of the answer")
        received += data
    return reply


def parse(received: bytes) -> Reply | None:
    """Returns the one answer in *received*, None where some of it is still to come."""
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return None
    length = _LENGTH.search(head)
    if length is None and _CHUNKED.search(head) is None:
        raise ValueError("the answer has no length")
    complete = len(body) == int(length[1]) if length else body.endswith(b"0\r\n\r\n")
    return Reply(int(head[9:12]), body) if complete else None
