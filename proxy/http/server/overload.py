"""Refusal of requests under overload, by their head and before the application sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from time import monotonic
from typing import Protocol

from proxy.errors import Overloaded
from proxy.http.fields import Fields
from proxy.http.response import error_response
from proxy.http.server.exchange import Exchange
from proxy.http.server.load_limit import LoadLimit, Rank

_PLAIN = {b"get": "GET", b"post": "POST"}
_LENGTH = b"\r\ncontent-length:"


class Ranking(Protocol):
    """Ranks of requests by their heads. *names* are the header fields that it looks at."""

    names: Sequence[bytes]

    def rank(self, method: str, url: bytes, fields: Sequence[tuple[bytes, bytes]]) -> Rank: ...


_RETRY_AFTER = (1, 2, 3)  # seconds, in turn: clients that were refused together must not come back together
_REFUSALS = [error_response(Overloaded(retry_after=seconds)) for seconds in _RETRY_AFTER]
# Fields with which a request is not a plain one: its end, its connection or its answer depends on them.
_SPECIAL = (b"\r\ntransfer-", b"\r\nconnection", b"\r\nexpect", b"\r\nupgrade", b"\r\norigin")


class Head(Protocol):
    """Head of a request, as far as its rank depends on it."""

    @property
    def method(self) -> str: ...

    @property
    def url(self) -> bytes: ...

    @property
    def fields(self) -> list[tuple[bytes, bytes]]: ...


def no_fields(_: Fields) -> Fields:
    return ()


class Overload:
    """Overload of one process, as its *load_limit* decides.

    *open_streams*: answers that stay open, which do not count as requests in flight. *ranking* ranks a head, and *cors*
    returns the response fields that let a page of another origin read the refusal. A reload replaces both.
    """

    def __init__(self, load_limit: LoadLimit, *, open_streams: Callable[[], int], ranking: Ranking) -> None:
        self.load_limit = load_limit
        self.ranking = ranking
        self.cors: Callable[[Fields], Fields] = no_fields
        self._open_streams = open_streams
        self._refusals = cycle([(each.status, each.lines(), each.body) for each in _REFUSALS])
        self._whole_refusals = cycle([each.lines() + b"\r\n" + each.body for each in _REFUSALS])

    def observe(self, due: float, tasks: int) -> None:
        """Takes one tick of a timer, which was *due* on the monotonic clock. *tasks*: open requests."""
        now = monotonic()
        self.load_limit.observe(max(0.0, now - due), tasks - self._open_streams(), now)

    def refuses(self, exchange: Exchange, head: Head, tasks: int) -> bool:
        """Answers the request with a refusal, or lets it pass with its rank. Called from `begins_at` on.

        A client that does not read its answers gets none here.
        """
        rank = self.ranking.rank(head.method, head.url, head.fields)
        if not self.load_limit.refuses(rank, tasks - self._open_streams()):
            self.load_limit.enter(rank)
            exchange.rank = rank
            return False
        status, lines, body = next(self._refusals)
        extra = b"".join([b"%b: %b\r\n" % field for field in self.cors(head.fields)])
        return exchange.answer(status, lines + extra, body)

    def refusal(self, data: bytes, tasks: int) -> bytes | None:
        """Returns the refusal of a plain GET or POST that is all of *data*, None where its parser must see it.

        Under overload most requests are refused, and to parse them first costs a fifth more.
        """
        size = data.find(b"\r\n\r\n") + 4
        head = data[:size].lower()
        end = head.find(b"\r\n")
        if head[end - 9 : end] != b" http/1.1" or any(name in head for name in _SPECIAL):
            return None
        method = head[:5].partition(b" ")[0]
        if method not in _PLAIN or _content_length(head) != len(data) - size:
            return None
        url = head[len(method) + 1 : end - 9]
        rank = self.ranking.rank(_PLAIN[method], url, _fields(head, self.ranking.names))
        if not self.load_limit.refuses(rank, tasks - self._open_streams()):
            return None
        return next(self._whole_refusals)

    def leave(self, exchange: Exchange) -> None:
        """Ends a request that was let pass."""
        if exchange.rank is not None:
            self.load_limit.leave(exchange.rank)
            exchange.rank = None


def _fields(head: bytes, names: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Returns the first field of each of *names* in *head*, which is in lower case."""
    fields = []
    for name in names:
        at = head.find(b"\r\n%b:" % name)
        if at >= 0:
            start = at + len(name) + 3
            fields.append((name, head[start : head.find(b"\r\n", start)].strip()))
    return fields


def _content_length(head: bytes) -> int:
    """Returns the length of the content after *head*, -1 where it is not given once and as a number."""
    before, found, rest = head.partition(_LENGTH)
    if not found:
        return 0 if b"content-length" not in before else -1
    digits = rest.partition(b"\r\n")[0].strip(b" \t")
    return int(digits) if digits.isdigit() and len(digits) < 9 and b"\ncontent-length" not in rest else -1
