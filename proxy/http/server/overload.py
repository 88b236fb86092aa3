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

Ranking = Callable[[str, bytes, Sequence[tuple[bytes, bytes]]], Rank]

_RETRY_AFTER = (1, 2, 3)  # seconds, in turn: clients that were refused together must not come back together
_REFUSALS = [error_response(Overloaded(retry_after=seconds)) for seconds in _RETRY_AFTER]


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

    @property
    def begins_at(self) -> float:
        """Requests under way from which `refuses` must be called: infinite but under overload."""
        return self.load_limit.begins_at

    def observe(self, due: float, tasks: int) -> None:
        """Takes one tick of a timer, which was *due* on the monotonic clock. *tasks*: open requests."""
        now = monotonic()
        self.load_limit.observe(max(0.0, now - due), tasks - self._open_streams(), now)

    def refuses(self, exchange: Exchange, head: Head, tasks: int) -> bool:
        """Answers the request with a refusal, or lets it pass with its rank. Called from `begins_at` on.

        A client that does not read its answers gets none here.
        """
        rank = self.ranking(head.method, head.url, head.fields)
        if self.load_limit.admits(rank, tasks - self._open_streams(), monotonic()):
            exchange.rank = rank
            return False
        status, lines, body = next(self._refusals)
        extra = b"".join([b"%b: %b\r\n" % field for field in self.cors(head.fields)])
        return exchange.answer(status, lines + extra, body)

    def leave(self, exchange: Exchange) -> None:
        """Ends a request that was let pass."""
        if exchange.rank is not None:
            self.load_limit.leave(exchange.rank)
            exchange.rank = None
