"""Refusal of requests under overload, by their head and before the application sees them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic, process_time
from typing import NamedTuple, Protocol

from proxy.errors import Overloaded
from proxy.http.fields import Fields
from proxy.http.response import error_response
from proxy.http.server.exchange import Exchange
from proxy.http.server.load_limit import AT_ONCE, LoadLimit, Rank, is_idle

_PLAIN = {b"get": "GET", b"post": "POST"}
_LENGTH = b"\r\ncontent-length:"


class Ranking(Protocol):
    """Ranks of requests by their heads. *names* are the header fields that it looks at."""

    names: Sequence[bytes]

    def rank(self, method: str, url: bytes, fields: Sequence[tuple[bytes, bytes]]) -> Rank: ...


_WAIT_TICKS = 4  # in a process without a CPU the least number of waits in so many ticks counts
_RETRY_AFTER = (1, 2, 3)  # seconds, in turn: clients that were refused together must not come back together
_MAX_KNOWN = 10_000  # requests whose rank is remembered
_RESPONSES = [error_response(Overloaded(retry_after=seconds)) for seconds in _RETRY_AFTER]
_REFUSALS = [(response.lines(), response.body) for response in _RESPONSES]  # field lines and content
_WHOLE_REFUSALS = [lines + b"\r\n" + body for lines, body in _REFUSALS]
_BLANKS = b" \t"
_ODD_BLANKS = (b"\n ", b"\n\t", b" :", b"\t:")
_CONNECTION, _KEEP_ALIVE = b"\r\nconnection", b"\r\nconnection: keep-alive\r\n"


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


class _Plain(NamedTuple):
    """A request that need not be parsed: its rank, and its refusals without status line and common fields."""

    rank: Rank
    refusals: Sequence[bytes]


class Overload:
    """Overload of one process, as its *load_limit* decides.

    *open_streams* returns the number of answers that stay open, *waiting* that of requests that only wait. *ranking*
    ranks a head, and *cors* returns the response fields that let a page of another origin read the refusal.
    """

    def __init__(
        self, load_limit: LoadLimit, *, open_streams: Callable[[], int], waiting: Callable[[], int], ranking: Ranking
    ) -> None:
        self.load_limit = load_limit
        self._ranking = ranking
        self._cors: Callable[[Fields], Fields] = no_fields
        self._open_streams = open_streams
        self._waiting = waiting
        self._cpu, self._answered = process_time(), 0
        self._waits: deque[int] = deque([0], maxlen=_WAIT_TICKS)
        self._turn = 0
        self._known: dict[int, _Plain] = {}
        self._by_origin: dict[bytes, Sequence[bytes]] = {}

    def configure(self, ranking: Ranking, cors: Callable[[Fields], Fields]) -> None:
        """Takes what a reload has changed."""
        self._ranking, self._cors = ranking, cors
        self._known.clear()
        self._by_origin.clear()

    def start(self, answered: int) -> None:
        """Begins to observe, with the number of requests *answered* so far."""
        self._cpu, self._answered = process_time(), answered
        self.load_limit.start()

    def observe(self, due: float, in_flight: int, answered: int, *, unstarted: int = 0) -> bool:
        """Takes one tick of a timer, *due* on the monotonic clock. Returns whether the process is idle.

        *unstarted* of the requests in flight do not run yet.
        """
        now, cpu = monotonic(), process_time()
        lag, used = max(0.0, now - due), cpu - self._cpu
        waiting = self._waiting()
        self._waits.append(waiting)
        self.load_limit.observe(
            lag,
            now,
            cpu=used,
            answered=answered - self._answered,
            in_flight=max(0, in_flight - self._open_streams() - waiting),
            unstarted=unstarted,
        )
        self._cpu, self._answered = cpu, answered
        return is_idle(lag, used)

    def rank(self, head: Head) -> Rank:
        return self._ranking.rank(head.method, head.url, head.fields)

    def may_start(self, started: int) -> bool:
        """Returns whether a request may start beside *started* others, of which some only wait."""
        return started - self._open_streams() - self._waiting() < AT_ONCE

    def _refuses(self, rank: Rank, in_flight: int) -> bool:
        waiting = self._waiting()
        if self.load_limit.is_starved:
            # Of those that have just begun to wait, the replies may have come, and wait for this process.
            waiting = min(waiting, *self._waits)
        return self.load_limit.refuses(rank, max(0, in_flight - self._open_streams() - waiting), waiting)

    def refuses(self, exchange: Exchange, head: Head, in_flight: int) -> bool:
        """Answers the request with a refusal, or lets it pass with its rank. Called from `begins_at` on.

        A client that does not read its answers gets none here.
        """
        rank = self.rank(head)
        if not self._refuses(rank, in_flight):
            self.load_limit.enter(rank)
            exchange.rank = rank
            return False
        lines, body = _REFUSALS[self._next_turn()]
        return exchange.answer(Overloaded.status, lines + self._cors_lines(head.fields), body)

    def refusal(self, data: bytes, in_flight: int) -> bytes | None:
        """Returns the refusal of a plain GET or POST that is all of *data*, None where its parser must see it.

        Under overload most requests are refused, and most are repeats: polls, and what was refused before. A repeat is
        known by its hash, and costs a tenth of what its parser would.
        """
        key = hash(data)
        plain = self._known.get(key)
        if plain is None:
            plain = self._examine(data)
            if plain is None:
                return None
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[key] = plain
        if not self._refuses(plain.rank, in_flight):
            return None
        return plain.refusals[self._next_turn()]

    def _next_turn(self) -> int:
        self._turn = turn = (self._turn + 1) % len(_REFUSALS)
        return turn

    def _examine(self, data: bytes) -> _Plain | None:
        size = data.find(b"\r\n\r\n") + 4
        head = data[:size].lower()
        end = head.find(b"\r\n")
        method = head[:5].partition(b" ")[0]
        if method not in _PLAIN or head[end - 9 : end] != b" http/1.1" or _is_special(head):
            return None
        if _content_length(head) != len(data) - size:
            return None
        url = head[len(method) + 1 : end - 9]
        rank = self._ranking.rank(_PLAIN[method], url, _fields(head, self._ranking.names))
        if b"\r\norigin:" not in head:
            return _Plain(rank, _WHOLE_REFUSALS)
        return _Plain(rank, self._refusals_for(data[_value_span(head, b"origin")]))

    def _refusals_for(self, origin: bytes) -> Sequence[bytes]:
        """Returns what a page of *origin* can read. All requests of a listed origin share it."""
        cors = self._cors_lines([(b"origin", origin)])
        if not cors:
            return _WHOLE_REFUSALS
        if origin not in self._by_origin:
            self._by_origin[origin] = [b"%b%b\r\n%b" % (lines, cors, body) for lines, body in _REFUSALS]
        return self._by_origin[origin]

    def _cors_lines(self, fields: Fields) -> bytes:
        return b"".join([b"%b: %b\r\n" % field for field in self._cors(fields)])

    def leave(self, exchange: Exchange) -> None:
        """Ends a request that was let pass."""
        if exchange.rank is not None:
            self.load_limit.leave(exchange.rank)
            exchange.rank = None


def _fields(head: bytes, names: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Returns the first field of each of *names* in *head*, which is in lower case."""
    return [(name, head[_value_span(head, name)]) for name in names if b"\r\n%b:" % name in head]


def _value_span(head: bytes, name: bytes) -> slice:
    """Returns where the value of the first field *name* is in *head*, which has it in lower case."""
    start = head.find(b"\r\n%b:" % name) + len(name) + 3
    end = head.find(b"\r\n", start)
    value = head[start:end]
    start += len(value) - len(value.lstrip(_BLANKS))
    return slice(start, start + len(value.strip(_BLANKS)))


def _is_special(head: bytes) -> bool:
    """Returns True where the end or the connection of a request may depend on more than its length.

    A bare CR or LF, a folded line and a blank before a colon can hide a field from one reader and not from another.
    """
    if head.count(b"\n") != head.count(b"\r\n") or head.count(b"\r") != head.count(b"\r\n") or b"\0" in head:
        return True
    if any(blank in head for blank in _ODD_BLANKS):
        return True
    if b"\r\ntransfer-" in head or b"\r\nexpect" in head or b"\r\nupgrade" in head:
        return True
    return head.count(_CONNECTION) > head.count(_KEEP_ALIVE)


def _content_length(head: bytes) -> int:
    """Returns the length of the content after *head*, -1 where it is not given once and as a number."""
    before, found, rest = head.partition(_LENGTH)
    if not found:
        return 0 if b"content-length" not in before else -1
    digits = rest.partition(b"\r\n")[0].strip(b" \t")
    return int(digits) if digits.isdigit() and len(digits) < 9 and b"\ncontent-length" not in rest else -1
