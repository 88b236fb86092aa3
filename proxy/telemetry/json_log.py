"""Writer of the journal: lines without secrets, in a thread so that a slow reader delays no request."""

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

from proxy.telemetry.levels import Level, level_of_event

MAX_VALUE = 256  # characters of one string
CAPACITY = 4 * 1024 * 1024  # bytes that may wait for the reader
MIN_REDACTED_LENGTH = 8  # characters; a shorter secret would occur in unrelated text
FLUSH_INTERVAL = 0.05  # seconds; lines of this time are written together
_WHOLE_FILE = 64 * 1024  # bytes written at once to a regular file
REDACTED = "[redacted]"

_NUMBERS = frozenset({int, float, bool, type(None)})
_PLAIN = _NUMBERS | {str}
_WORD = re.compile(r"[!#-~]+")  # no quote, no space
_NOT_PRINTABLE = re.compile(r"[^ -~]")


class JsonLogWriter:
    """Writer of JSON lines to the descriptor *fd*, with each of *secrets* replaced in all its encodings.

    A thread writes, because a standard stream that is made non-blocking is so for all processes that share it. Lines
    that do not fit into *capacity* bytes are dropped and counted. *clock* returns Unix time. With *text* a line is for
    a person who reads along.
    """

    def __init__(
        self,
        fd: int,
        *,
        secrets: Iterable[str] = (),
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.time,
        text: bool = False,
    ) -> None:
        self._fd = fd
        self._text = text
        self._secrets: tuple[str, ...] = ()
        self.add_secrets(secrets)
        self._capacity = capacity
        self._clock = clock
        self._second, self._second_text = -1, b""
        # No lock: each of these has one writer, and a thread that waits for the interpreter with a lock would stop the
        # loop. The ends of a deque are atomic.
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0  # counted by `write`
        self._written_bytes = 0  # counted by the thread
        self._refused = 0  # lines; counted by `write`
        self._lost = 0  # lines; counted by the thread
        self._chunk = _WHOLE_FILE if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
        self._pending = threading.Event()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._writer.start()

    def add_secrets(self, secrets: Iterable[str]) -> None:
        """Replaces *secrets*, too, from now on."""
        self._secrets = secrets = tuple(dict.fromkeys([*self._secrets, *secrets]))
        self._secret_forms = {form for secret in secrets for form in _forms(secret) if len(form) >= MIN_REDACTED_LENGTH}
        # A line with a secret also has every shorter secret inside it, so only the innermost are searched for.
        innermost = [one for one in secrets if not any(other != one and other in one for other in secrets)]
        self._line_patterns = [
            _escape(form) for one in innermost for form in set(_forms(one)) if len(form) >= MIN_REDACTED_LENGTH
        ]

    @property
    def dropped(self) -> int:
        """The number of lines lost so far: no room, a closed writer, or a descriptor that failed."""
        return self._refused + self._lost

    def write(self, event: Mapping[str, object], level: Level | None = None) -> None:
        """Writes a line: `time` (RFC 3339, UTC), `level`, then the members of *event*.

        Never blocks and never raises. Strings are cut at MAX_VALUE characters. Other values than strings, numbers,
        booleans and null are written as their text. Only one thread may call it.
        """
        seconds, micros = divmod(int(self._clock() * 1_000_000), 1_000_000)
        if seconds != self._second:  # the text of a second is used for all its lines
            self._second, self._second_text = seconds, _utc(seconds)
        line = self._line(event, level, b"%b.%06dZ" % (self._second_text, micros))
        if self._closing.is_set() or self._queued_bytes - self._written_bytes + len(line) > self._capacity:
            self._refused += 1
            return
        self._queued_bytes += len(line)
        self._lines.append(line)
        if not self._pending.is_set():
            self._pending.set()

    def write_through(self, event: Mapping[str, object], level: Level) -> None:
        """Writes a line at once, past the queue; any thread may call it. It waits for the reader."""
        seconds = int(self._clock())
        self._write_all(self._line(event, level, b"%b.000000Z" % _utc(seconds)))

    def close(self, timeout: float = 1.0) -> None:
        """Writes the queued lines, for at most *timeout* seconds. Later lines are dropped."""
        self._closing.set()
        self._pending.set()
        self._writer.join(timeout)

    def _line(self, event: Mapping[str, object], level: Level | None, moment: bytes) -> bytes:
        # Most lines have plain values and no secret; this test of it runs in C.
        line = _ascii_line(event) if _PLAIN.issuperset(map(type, event.values())) else b""
        # A name has two quotes, a colon and a comma beside it. What is left is the length of all values together.
        is_long = len(line) - sum(map(len, event)) - 4 * len(event) > MAX_VALUE
        if not line or is_long or self._holds_secret(line):
            line = _ascii_line({name: self._redacted(value) for name, value in event.items()})
        level = level or level_of_event(event.get("event"))
        line = b'{"time":"%b","level":"%b",%b\n' % (moment, level.encode("ascii"), line[1:])
        return readable(line) if self._text else line

    def _holds_secret(self, line: bytes) -> bool:
        for form in self._line_patterns:  # noqa: SIM110 a generator would cost as much again
            if form in line:
                return True
        return False

    def _redacted(self, value: object) -> object:
        return value if type(value) in _NUMBERS else self.redacted(str(value))

    def redacted(self, text: str) -> str:
        """Returns *text* without secrets, cut at MAX_VALUE characters."""
        # Cut last: half a secret at the cut would not match.
        for form in self._secret_forms:
            text = text.replace(form, REDACTED)
        return text[:MAX_VALUE]

    def _run(self) -> None:
        while self._lines or not self._closing.is_set():
            self._pending.wait()
            self._closing.wait(FLUSH_INTERVAL)
            self._pending.clear()
            while chunk := self._next_chunk():
                data = b"".join(chunk)
                self._lost += 0 if self._write_all(data) else len(chunk)
                self._written_bytes += len(data)

    def _next_chunk(self) -> list[bytes]:
        """Returns whole lines: for a pipe at most PIPE_BUF bytes, which POSIX writes in one piece."""
        chunk: list[bytes] = []
        room = self._chunk
        while self._lines and (not chunk or len(self._lines[0]) <= room):
            room -= len(self._lines[0])
            chunk.append(self._lines.popleft())
        return chunk

    def _write_all(self, data: bytes) -> bool:
        try:
            while data:
                data = data[self._write(data) :]
        except OSError:
            return False
        return True

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:  # another process made it non-blocking
            ready = select.poll()
            ready.register(self._fd, select.POLLOUT)
            ready.poll()
            return 0


def _utc(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode("ascii")


def readable(line: bytes) -> bytes:
    """Returns a JSON line for a person: time, level, event, then `name=value` of each other member."""
    fields = orjson.loads(line)
    first = [fields.pop(name, "") for name in ("time", "level", "event")]
    rest = [f"{name}={value if _is_word(value) else orjson.dumps(value).decode()}" for name, value in fields.items()]
    text = f"{first[0][11:23]} {first[1].upper():7} {first[2]} " + " ".join(rest)
    return _NOT_PRINTABLE.sub(_escaped, text).encode("ascii") + b"\n"


def _is_word(value: object) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _ascii_line(fields: Mapping[str, object]) -> bytes:
    """Returns JSON in printable ASCII, since a terminal obeys DEL, C1 controls and bidi marks."""
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


def _escape(form: str) -> bytes:
    """Returns *form* as it is written in a line."""
    return _ascii_line({"": form})[len(b'{"":"') : -len(b'"}')]


def _forms(secret: str) -> list[str]:
    """Returns the encodings of *secret*: as it is, escaped for a URL, and base64 from any byte offset."""
    raw = secret.encode()
    forms = [secret, quote(secret, safe="")]
    for offset, start in enumerate((0, 2, 3)):
        # Only the characters whose bits are all of the secret.
        encoded = b64encode(bytes(offset) + raw).decode()[start : 8 * (offset + len(raw)) // 6]
        forms += [encoded, encoded.translate(str.maketrans("+/", "-_"))]
    return forms
