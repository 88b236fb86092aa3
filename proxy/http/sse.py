"""Server-sent events as bytes (WHATWG HTML, server-sent events): parsed and written again.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.errors import UpstreamFailed

MAX_EVENT = 1024 * 1024  # bytes of one event; a status with a window of logs takes some 10 KiB

# A comment, and no blank line after it: it may stand between two lines of one event.
HEARTBEAT = b":\n"

_LINE_END = re.compile(rb"\r\n|\r|\n")
_MARK = b"\xef\xbb\xbf"  # one byte order mark may stand before the first line


class EventReader:
    """Cuts a stream into the data of its events, wherever its chunks end. Holds no more than one event.

    Names, ids, retry times and comments are dropped: nothing of a stream passes but what was read as data.
    """

    def __init__(self, *, max_event: int = MAX_EVENT) -> None:
        self._max_event = max_event
        self._line = bytearray()  # as far as it has come
        self._data: list[bytes] = []
        self._size = 0  # of the data
        self._first = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yields the data of each event that *chunk* completes, its lines joined by LF.

        Raises UpstreamFailed at an event over the cap, after those before it.
        """
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a line's end
            self._after_cr = False
        if not chunk:
            return
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        for piece in ended:
            self._line += piece
            self._check()
            line = bytes(self._line)
            self._line.clear()
            if self._first:
                self._first, line = False, line.removeprefix(_MARK)
            if line:
                self._field(line)
            elif self._data:
                yield self._dispatch()
        self._line += rest
        self._check()

    def _check(self) -> None:
        if self._size + len(self._line) > self._max_event:
            raise UpstreamFailed(reason=f"an event of more than {self._max_event} bytes")

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(line)

    def _dispatch(self) -> bytes:
        data = b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        return data


def event(data: bytes) -> bytes:
    """Returns one event of *data*, which must have no line end: JSON as orjson writes it has none."""
    return b"data: %b\n\n" % data


def last_words(why: str) -> bytes:
    """Returns the comment that ends a stream before its time."""
    return b": ended, %b\n\n" % why.encode("ascii")
