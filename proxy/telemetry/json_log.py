"""The one sink of what the process tells its operator: JSON lines, written so that a stuck reader costs nothing."""

from __future__ import annotations

import os
import re
import select
import stat
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote

import orjson

MAX_VALUE = 256  # characters of one string
CAPACITY = 4 * 1024 * 1024  # bytes that may wait for the reader
MIN_SECRET = 8  # characters; anything shorter would be found where it is not
GATHER = 0.05  # seconds in which lines come together before they are written
_WHOLE_FILE = 64 * 1024  # bytes written at once to a regular file
REDACTED = "[redacted]"

_NUMBERS = frozenset({int, float, bool, type(None)})
_PLAIN = _NUMBERS | {str}
_NOT_PRINTABLE = re.compile(r"[^ -~]")


class Journal:
    """JSON lines to the descriptor *fd*, with each of *secrets* replaced wherever it would appear.

    A thread writes, because making a standard stream non-blocking would make it so for every process that shares it.
    What does not fit into *capacity* bytes is dropped and counted. *clock* gives Unix time.
    """

    def __init__(
        self,
        fd: int,
        *,
        secrets: Iterable[str] = (),
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fd = fd
        secrets = tuple(secrets)
        self._secret_forms = {form for secret in secrets for form in _forms(secret) if len(form) >= MIN_SECRET}
        # What holds a secret that holds another one holds that one, too.
        telling = [one for one in secrets if not any(other != one and other in one for other in secrets)]
        self._in_line = [_escape(form) for one in telling for form in set(_forms(one)) if len(form) >= MIN_SECRET]
        self._capacity = capacity
        self._clock = clock
        self._second, self._second_text = -1, b""
        # No lock: each of these has one writer, and a thread that held one while it waits for the interpreter would
        # stop the loop. A deque's ends are atomic.
        self._lines: deque[bytes] = deque()
        self._taken = 0  # bytes, by `write`
        self._given = 0  # bytes, by the thread
        self._refused = 0  # lines, by `write`
        self._lost = 0  # lines, by the thread
        self._chunk = _WHOLE_FILE if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
        self._pending = threading.Event()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._run, name="journal", daemon=True)
        self._writer.start()

    @property
    def dropped(self) -> int:
        """Lines lost so far: no room, a closed journal, or a descriptor that took no more."""
        return self._refused + self._lost

    def write(self, event: Mapping[str, object]) -> None:
        """One line: `time` (RFC 3339, UTC), then the members of *event*. Never blocks, never raises. From one thread.

        Strings are cut at MAX_VALUE characters; what is no string, number, boolean or null is written as its text.
        """
        # Most lines are of plain values and have nothing to be cleared of: what tells is in C.
        line = _ascii_line(event) if _PLAIN.issuperset(map(type, event.values())) else b""
        if not line or _may_be_long(line, event) or self._holds_secret(line):
            line = _ascii_line({name: self._cleared(value) for name, value in event.items()})
        line = b'{"time":"%b",%b\n' % (self._time(), line[1:])
        if self._closing.is_set() or self._taken - self._given + len(line) > self._capacity:
            self._refused += 1
            return
        self._taken += len(line)
        self._lines.append(line)
        if not self._pending.is_set():
            self._pending.set()

    def close(self, timeout: float = 1.0) -> None:
        """Writes what waits, for at most *timeout* seconds; lines that come later are dropped."""
        self._closing.set()
        self._pending.set()
        self._writer.join(timeout)

    def _time(self) -> bytes:
        """RFC 3339; the text of a second serves for all its lines."""
        seconds, micros = divmod(int(self._clock() * 1_000_000), 1_000_000)
        if seconds != self._second:
            self._second = seconds
            self._second_text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode("ascii")
        return b"%b.%06dZ" % (self._second_text, micros)

    def _holds_secret(self, line: bytes) -> bool:
        for form in self._in_line:  # noqa: SIM110 a generator would cost as much again
            if form in line:
                return True
        return False

    def _cleared(self, value: object) -> object:
        if type(value) in _NUMBERS:
            return value
        text = str(value)
        # Cut last: half a secret at the cut would not be found.
        for form in self._secret_forms:
            text = text.replace(form, REDACTED)
        return text[:MAX_VALUE]

    def _run(self) -> None:
        while self._lines or not self._closing.is_set():
            self._pending.wait()
            self._closing.wait(GATHER)
            self._pending.clear()
            while chunk := self._next_chunk():
                data = b"".join(chunk)
                self._lost += 0 if self._pour(data) else len(chunk)
                self._given += len(data)

    def _next_chunk(self) -> list[bytes]:
        """Whole lines; to a pipe at most PIPE_BUF bytes, which POSIX lets no other writer of it cut in two."""
        chunk: list[bytes] = []
        room = self._chunk
        while self._lines and (not chunk or len(self._lines[0]) <= room):
            room -= len(self._lines[0])
            chunk.append(self._lines.popleft())
        return chunk

    def _pour(self, data: bytes) -> bool:
        try:
            while data:
                data = data[self._write(data) :]
        except OSError:
            return False
        return True

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:  # someone else made it non-blocking
            ready = select.poll()
            ready.register(self._fd, select.POLLOUT)
            ready.poll()
            return 0


def _ascii_line(fields: Mapping[str, object]) -> bytes:
    """JSON in printable ASCII, so that no terminal obeys it; orjson leaves DEL, C1 controls and bidi marks alone."""
    try:
        line = orjson.dumps(fields)
    except orjson.JSONEncodeError:  # a lone surrogate, or an integer of more than 64 bits
        line = orjson.dumps({name: _sendable(value) for name, value in fields.items()})
    if line.isascii() and b"\x7f" not in line:
        return line
    return _NOT_PRINTABLE.sub(_escaped, line.decode()).encode()


def _sendable(value: object) -> object:
    if isinstance(value, str) or type(value) is int:
        return str(value).encode("utf-8", "backslashreplace").decode()
    return value


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _may_be_long(line: bytes, event: Mapping[str, object]) -> bool:
    """Whether all values together are longer than one may be; a name comes with two quotes, colon and comma."""
    return len(line) - sum(map(len, event)) - 4 * len(event) > MAX_VALUE


def _escape(form: str) -> bytes:
    """*form* as it would stand in a line."""
    return _ascii_line({"": form})[len(b'{"":"') : -len(b'"}')]


def _forms(secret: str) -> list[str]:
    """How *secret* may look in a text: as it is, escaped for a URL, and in base64 from any byte offset."""
    raw = secret.encode()
    forms = [secret, quote(secret, safe="")]
    for offset, start in enumerate((0, 2, 3)):
        # Only the characters that hold nothing but bits of the secret.
        encoded = b64encode(bytes(offset) + raw).decode()[start : 8 * (offset + len(raw)) // 6]
        forms += [encoded, encoded.translate(str.maketrans("+/", "-_"))]
    return forms
