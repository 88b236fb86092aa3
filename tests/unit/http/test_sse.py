from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamFailed
from proxy.http.sse import HEARTBEAT, EventReader, event, last_words


def read(*chunks: bytes, max_event: int = 1024) -> list[bytes]:
    reader = EventReader(max_event=max_event)
    return [data for chunk in chunks for data in reader.feed(chunk)]


STREAMS: dict[str, tuple[bytes, list[bytes]]] = {
    "one": (b"data: a\n\n", [b"a"]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "cr": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\n\r", [b"a", b"b", b"c"]),
    "lines": (b"data: a\ndata: b\r\ndata:\rdata: c\n\n", [b"a\nb\n\nc"]),
    "one-blank": (b"data:  a\n\ndata:b\n\n", [b" a", b"b"]),
    "no-colon": (b"data\n\n", [b""]),
    "colons": (b"data: a:b: c\n\n", [b"a:b: c"]),
    "comments": (b": ping\n\n:\ndata: a\n: x\n\n:\n\n", [b"a"]),
    "other-fields": (b"event: x\nid: raw-id\nretry: 9\nfoo: bar\ndata: a\n\n", [b"a"]),
    "other-case": (b"Data: a\nDATA: b\n data: c\n\n", []),
    "no-data": (b"event: x\n\n\n\n", []),
    "mark": (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
    "unfinished": (b"data: a\n\ndata: b\n", [b"a"]),
    "unfinished-line": (b"data: a\n\ndata: b", [b"a"]),
    "utf-8": ("data: ä€\U0001f600\n\n".encode(), ["ä€\U0001f600".encode()]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("stream", "data"), STREAMS.values(), ids=STREAMS)
def test_events_are_read_wherever_chunks_end(stream: bytes, data: list[bytes]) -> None:
    """Whole, byte by byte, and cut in two at every place: the same events."""
    assert read(stream) == data
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == data
    for cut in range(len(stream) + 1):
        assert read(stream[:cut], stream[cut:]) == data


LINES = st.sampled_from([b"data: x", b"data:", b"data: y z", b": c", b"id: 1", b"", b""])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.integers(0, 80), max_size=6))
def test_no_cut_changes_what_is_read(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    """Any lines with any ends, cut anywhere."""
    stream = b"".join(line + end for line, end in lines)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    assert read(*(stream[a:b] for a, b in pairwise(places))) == read(stream)


@pytest.mark.parametrize(
    "stream",
    [b"data: " + b"x" * 1020, b"data: " + b"x" * 500 + b"\ndata: " + b"x" * 600, b": " + b"x" * 1100, b"x" * 1025],
    ids=["line", "lines", "comment", "noise"],
)
def test_an_event_has_a_cap(stream: bytes) -> None:
    """An event that is too long is refused, in one chunk or many; the events before it are returned."""
    whole = b"data: before\n\n" + stream + b"\n\n"
    for size in (1, 7, 4096):
        events = read_all(EventReader(max_event=1024), [whole[at : at + size] for at in range(0, len(whole), size)])
        assert next(events) == b"before"
        with pytest.raises(UpstreamFailed):
            next(events)


def read_all(reader: EventReader, chunks: list[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        yield from reader.feed(chunk)


def test_what_passed_does_not_count() -> None:
    """The cap is one event's: neither those before it nor comments add up to it."""
    assert len(read(*[b"data: " + b"x" * 900 + b"\n\n"] * 20)) == 20
    assert read(*[b": " + b"x" * 900 + b"\n"] * 20, b"data: a\n\n") == [b"a"]


def test_what_is_written_is_read() -> None:
    """Events of ours come back as they were; heartbeats and last words are comments."""
    data = orjson.dumps({"text": "two\nlines\r\u2028"})

    assert read(event(data), HEARTBEAT, event(b"{}"), last_words("max-age")) == [data, b"{}"]
    assert read(b"data: a\n", HEARTBEAT, b"data: b\n\n") == [b"a\nb"]
