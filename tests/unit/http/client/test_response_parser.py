from __future__ import annotations

import pytest
from support.hostile_answers import CHUNKED, MALFORMED, SIZED, STRAY, WHOLE

from proxy.errors import MalformedResponse, ResponseTooLarge, TransportError
from proxy.http.client.response_parser import ResponseParser


def answer(*reads: bytes, max_head: int = 1000) -> ResponseParser:
    fed = ResponseParser(max_head=max_head)
    for read in reads:
        fed.feed(read)
    return fed


@pytest.mark.parametrize(("raw", "status", "content", "keep_alive"), WHOLE.values(), ids=WHOLE)
def test_a_sound_answer(raw: bytes, status: int, content: bytes, keep_alive: bool) -> None:
    """Status, content and the fate of the connection are the same wherever the reads fall."""
    splits = [[raw], [raw[i : i + 1] for i in range(len(raw))], *([raw[:i], raw[i:]] for i in range(1, len(raw)))]
    for reads in splits:
        fed = answer(*reads)

        assert (fed.status, fed.read_content(), fed.ended, fed.keep_alive) == (status, content, True, keep_alive)


def test_fields_of_the_head() -> None:
    """Names come in lower case, values without white space around, repeated ones apart, trailers not."""
    head = b"HTTP/1.1 200 OK\r\nX-A:  1 2 \t\r\nx-a:\r\nX-B: \xc3\xa9\r\nTransfer-Encoding: chunked\r\n\r\n"

    fed = answer(head, b"0\r\nX-C: 3\r\n\r\n")

    assert fed.fields == [(b"x-a", b"1 2"), (b"x-a", b""), (b"x-b", b"\xc3\xa9"), (b"transfer-encoding", b"chunked")]


def test_fields_of_an_interim_head_are_dropped() -> None:
    """Fields of a 100 are not part of the final head (RFC 9110 section 15.2)."""
    assert answer(b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" + SIZED).fields == [(b"content-length", b"2")]


def test_an_answer_without_length_ends_with_the_connection() -> None:
    """A response without length ends when the peer closes in good order, and its connection is not reused."""
    fed = answer(b"HTTP/1.1 200 OK\r\n\r\nhello", b" you")
    assert not fed.ended
    fed.close()

    assert (fed.read_content(), fed.ended, fed.keep_alive) == (b"hello you", True, False)


@pytest.mark.parametrize(
    "read", [b"HTTP/1.1 200", SIZED + b"h", CHUNKED + b"2\r\nhi\r\n"], ids=["head", "length", "chunk"]
)
def test_a_cut_answer_has_not_ended(read: bytes) -> None:
    """Closing does not complete an answer that has a length, nor one without a head."""
    fed = answer(read)
    fed.close()

    assert not fed.ended


def test_one_answer_after_another() -> None:
    """A reset removes all of the last response, unread content too."""
    fed = answer(b"HTTP/1.1 404 No\r\nX: 1\r\nContent-Length: 3\r\n\r\nold")
    fed.reset()
    assert (fed.status, fed.fields, fed.ended, fed.buffered, fed.read_content()) == (0, [], False, 0, b"")
    fed.feed(SIZED + b"hi")

    assert (fed.status, fed.fields, fed.read_content()) == (200, [(b"content-length", b"2")], b"hi")


def test_an_unbounded_answer_is_forgotten_too() -> None:
    """Reading until the peer closes is a matter of one answer only."""
    fed = answer(b"HTTP/1.1 200 OK\r\n\r\n")
    fed.close()
    fed.reset()
    fed.close()

    assert not fed.ended


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_an_ambiguous_answer_is_malformed(raw: bytes) -> None:
    """An ambiguous response is refused, as one to a request that was sent."""
    with pytest.raises(MalformedResponse) as caught:
        answer(raw)

    assert (caught.value.sent, caught.value.received) == (True, True)


@pytest.mark.parametrize("name", sorted(MALFORMED.keys() - STRAY))
def test_splitting_the_reads_does_not_hide_it(name: str) -> None:
    """The same answers byte by byte; bytes after the end are the connection's matter then."""
    raw = MALFORMED[name]

    with pytest.raises(MalformedResponse):
        answer(*(raw[i : i + 1] for i in range(len(raw))))


@pytest.mark.parametrize(
    "unit",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 80, b"HTTP/1.1 200 " + b"a" * 80],
    ids=["interim heads", "one field", "reason"],
)
def test_an_endless_head_is_cut(unit: bytes) -> None:
    """All that comes before the content is capped, in however many reads."""
    reads = [unit] if unit.endswith(b"\r\n\r\n") else [unit, *[b"a" * 80] * 50]

    with pytest.raises(ResponseTooLarge) as caught:
        answer(*reads * 50)

    assert (caught.value.sent, caught.value.received) == (True, True)


def test_a_large_head_in_one_read_is_cut() -> None:
    """The cap holds for a complete head too."""
    with pytest.raises(ResponseTooLarge):
        answer(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(200)) + b"Content-Length: 1\r\n\r\n")


@pytest.mark.parametrize("lead", [b"5;", b"0\r\nX: ", b"5"], ids=["extension", "trailer", "size"])
def test_endless_framing_after_the_head_is_cut(lead: bytes) -> None:
    """Chunk extensions, trailers and sizes hold no content, so they count as head does."""
    with pytest.raises(TransportError):
        answer(CHUNKED + b"2\r\nhi\r\n" + lead, *[b"0" * 90] * 20)


def test_framing_of_a_long_stream_is_no_head() -> None:
    """Small chunks may go on for ever: the cap counts from the last content."""
    fed = answer(CHUNKED, *[b"1\r\na\r\n"] * 5000)

    assert fed.read_content() == b"a" * 5000
