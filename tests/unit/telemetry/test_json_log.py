import base64
import fcntl
import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest

from proxy.fal_api.operations import Action
from proxy.telemetry.json_log import MAX_VALUE, JsonLogWriter

SECRET = '11111111-2222:s3cr3t/"+?~0123456789abcdef'
B64 = base64.b64encode(SECRET.encode()).decode()
URLSAFE = base64.urlsafe_b64encode(b"?" + SECRET.encode()).decode().rstrip("=")
SHIFTED = base64.b64encode(f"me:{SECRET}:you".encode()).decode()


class Log:
    """A file, and what stands in it once its journal is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT)

    def lines(self, journal: JsonLogWriter) -> list[bytes]:
        journal.close(timeout=10)
        return self.path.read_bytes().splitlines(keepends=True)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "log")
    yield log
    os.close(log.fd)


class Pipe:
    """A pipe of 4 KiB that is read by `numbers` only."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)

    def numbers(self, *journals: JsonLogWriter) -> list[int]:
        """Returns the `i` of each line, all *journals* closed; a line cut in two would not parse."""
        chunks: list[bytes] = []
        reading = threading.Thread(target=lambda: chunks.extend(iter(lambda: os.read(self._reader, 65536), b"")))
        reading.start()
        for journal in journals:
            journal.close(timeout=10)
        os.close(self.writer)
        reading.join(10)
        os.close(self._reader)
        return [orjson.loads(line)["i"] for line in b"".join(chunks).splitlines()]


def test_a_line_for_a_person(log: Log) -> None:
    """Time, level and event, then each member; text with spaces is in quotes, and no control gets out."""
    journal = JsonLogWriter(log.fd, clock=lambda: 1_795_000_000.25, text=True)
    journal.write({"event": "warning", "port": 8080, "message": 'two "words"\x1b[2J\nand a line', "path": "/a"})

    assert log.lines(journal) == [
        b'11:06:40.250 WARNING warning port=8080 message="two \\"words\\"\\u001b[2J\\nand a line" path=/a\n'
    ]


def test_a_line_past_the_queue(log: Log) -> None:
    """A line of another thread is written at once, with secrets replaced."""
    journal = JsonLogWriter(log.fd, secrets=[SECRET], clock=lambda: 1_795_000_000.25)
    journal.write_through({"event": "log", "message": SECRET}, "error")

    assert log.lines(journal) == [
        b'{"time":"2026-11-18T11:06:40.000000Z","level":"error","event":"log","message":"[redacted]"}\n'
    ]


def test_a_line(log: Log) -> None:
    """One JSON object a line: the time in RFC 3339 and UTC, the level, then the members in their order."""
    journal = JsonLogWriter(log.fd, clock=lambda: 1_795_000_000.25)
    journal.write({"event": "ready", "port": 8080, "ratio": 0.5, "tls": True, "reason": None})

    assert log.lines(journal) == [
        b'{"time":"2026-11-18T11:06:40.250000Z","level":"info","event":"ready","port":8080,"ratio":0.5,"tls":true,'
        b'"reason":null}\n'
    ]


def test_order_is_kept(log: Log) -> None:
    """Lines stand in the order they were written, and none is lost."""
    journal = JsonLogWriter(log.fd)
    for i in range(5_000):
        journal.write({"i": i})

    assert [orjson.loads(line)["i"] for line in log.lines(journal)] == list(range(5_000))
    assert journal.dropped == 0


def test_lines_do_not_wait_for_the_end(log: Log) -> None:
    """A line is written soon, although no line follows it and the writer stays open."""
    journal = JsonLogWriter(log.fd)
    for i in range(2):
        journal.write({"i": i})
        until = time.monotonic() + 5
        while log.path.read_bytes().count(b"\n") <= i and time.monotonic() < until:
            time.sleep(0.005)
        assert log.path.read_bytes().count(b"\n") == i + 1
    journal.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 256),
        ("é" * 10_000, "é" * 256),
        (["a", "b"], "['a', 'b']"),
        (b"\xff", "b'\\xff'"),
        (Action.SUBMIT, "submit"),
        (ValueError("no"), "no"),
        ("\ud800!", "\\ud800!"),
        (2**70, str(2**70)),
        (float("nan"), None),
    ],
    ids=lambda value: str(value)[:12].encode("ascii", "replace").decode(),
)
def test_values(log: Log, value: object, text: str | None) -> None:
    """Long strings are cut, other objects become text, and what JSON cannot hold does not lose the line."""
    journal = JsonLogWriter(log.fd)
    journal.write({"value": value, "then": "more"})

    (line,) = log.lines(journal)
    assert orjson.loads(line)["value"] == text
    assert orjson.loads(line)["then"] == "more"


@pytest.mark.parametrize(
    "text",
    ["a\r\nb", "\x1b[2J", "\x00", "\x7f", "\x9b31m", "\u202ereversed", "\u2028", "na\u200bme", "\U0001f600 é", '"}\\'],
    ids=ascii,
)
def test_no_terminal_obeys_a_line(log: Log, text: str) -> None:
    """Any text of a caller becomes one line of printable ASCII that decodes to the same text."""
    journal = JsonLogWriter(log.fd)
    journal.write({"path": text})

    (line,) = log.lines(journal)
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert orjson.loads(line)["path"] == text


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"Key {SECRET}!",
        f"?key={quote(SECRET, safe='')}&x",
        f"Basic {B64}",
        URLSAFE,
        SHIFTED,
        "x" * 230 + SECRET,
        f"é{SECRET}\x1b",
        f"\ud800{SECRET}",
        [SECRET],
        {"key": SECRET.encode()},
        KeyError(SECRET),
    ],
    ids=lambda value: type(value).__name__,
)
def test_secrets_are_redacted(log: Log, text: object) -> None:
    """A registered secret is in no line in any encoding, and no half of it where a value is cut."""
    journal = JsonLogWriter(log.fd, secrets=["another-secret", SECRET])
    journal.write({"reason": text})

    (line,) = log.lines(journal)
    assert "[redacted]" in orjson.loads(line)["reason"]
    for spelling in (SECRET, quote(SECRET, safe=""), B64, URLSAFE, SHIFTED):
        for start in range(0, len(spelling) - 12, 4):
            assert spelling[start : start + 12].encode() not in line


def test_what_is_no_secret_stays(log: Log) -> None:
    """Words too short to be secrets are not looked for, and an empty one redacts nothing."""
    journal = JsonLogWriter(log.fd, secrets=["", "pass"])
    journal.write({"reason": "passed a pass"})

    assert orjson.loads(log.lines(journal)[0])["reason"] == "passed a pass"


@pytest.mark.serial
def test_nobody_reads() -> None:
    """With a full pipe `write` stays fast: lines that do not fit are dropped and counted."""
    pipe = Pipe()
    journal = JsonLogWriter(pipe.writer, capacity=100_000)
    longest = 0.0
    for i in range(20_000):
        start = time.perf_counter()
        journal.write({"i": i})
        longest = max(longest, time.perf_counter() - start)
    dropped = journal.dropped
    numbers = pipe.numbers(journal)

    assert longest < 0.2
    assert dropped > 15_000
    assert len(numbers) == 20_000 - dropped
    assert numbers == sorted(numbers)


@pytest.mark.serial
def test_closing_does_not_wait_for_a_reader() -> None:
    """Closing takes no longer than its timeout."""
    pipe = Pipe()
    journal = JsonLogWriter(pipe.writer)
    for i in range(1_000):
        journal.write({"i": i})
    start = time.monotonic()
    journal.close(timeout=0.1)

    assert 0.05 < time.monotonic() - start < 1
    assert pipe.numbers(journal) == list(range(1_000))


def test_a_reader_that_left() -> None:
    """Lines after the reader has gone are counted, and nothing is raised."""
    reader, writer = os.pipe()
    os.close(reader)
    journal = JsonLogWriter(writer)
    for i in range(3):
        journal.write({"i": i})
    journal.close(timeout=10)
    os.close(writer)

    assert journal.dropped == 3


def test_a_stream_that_someone_made_non_blocking() -> None:
    """The writer waits for room instead of losing lines."""
    pipe = Pipe()
    os.set_blocking(pipe.writer, False)
    journal = JsonLogWriter(pipe.writer)
    for i in range(3_000):
        journal.write({"i": i})

    assert pipe.numbers(journal) == list(range(3_000))
    assert journal.dropped == 0


def test_what_workers_that_share_a_pipe_write() -> None:
    """Whole lines of at most PIPE_BUF bytes are written at once, which POSIX keeps in one piece."""
    reader, writer = os.pipe2(os.O_DIRECT)  # each write is read as a packet of its own
    journal = JsonLogWriter(writer)
    for i in range(100):
        journal.write({"i": i, "filler": "x" * i})
    journal.close(timeout=10)
    os.close(writer)
    packets = list(iter(lambda: os.read(reader, 65536), b""))
    os.close(reader)

    assert 1 < len(packets) < 10
    assert all(len(packet) <= select.PIPE_BUF and packet.endswith(b"\n") for packet in packets)


def test_after_closing(log: Log) -> None:
    """Lines after `close` are counted as dropped, and a second `close` does nothing."""
    journal = JsonLogWriter(log.fd)
    journal.close()
    journal.write({"i": 1})

    assert log.lines(journal) == []
    assert journal.dropped == 1


def test_a_line_longer_than_a_pipe_takes_at_once(log: Log) -> None:
    """A line longer than PIPE_BUF is written whole."""
    journal = JsonLogWriter(log.fd)
    journal.write({f"member{i}": "x" * MAX_VALUE for i in range(40)})
    journal.write({"i": 1})

    assert [len(line) > 10_000 for line in log.lines(journal)] == [True, False]
