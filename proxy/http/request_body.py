"""Request bodies: read within a limit of their own, and within the budget of the worker."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from starlette.types import Receive

from proxy.errors import (
    CLOSE,
    BadRequest,
    ClientGone,
    ContentTooLarge,
    Overloaded,
    RateLimited,
    UnsupportedMediaType,
)
from proxy.http.fields import FieldsByName

MIB = 1024 * 1024
# Memory of a body's byte while fal has not answered, measured by `python -m bench memory`: 1.6 to 2.1 times
# while fal reads nothing. The text is in the request, and as much is in free blocks of the allocator.
HELD = 2
USER_RETRY = 2  # seconds
_MUCH = 64 * MIB  # held at once since the budget was last all free

_CHARSETS = frozenset({b"", b"charset=utf-8", b'charset="utf-8"'})


class Hold:
    """Share of a budget, in `with Hold(budget) as hold:` around all use of a request's body.

    At its end the bytes return to the budget. *user*: the key of the caller, "" for none.
    """

    __slots__ = ("_budget", "_size", "_user")

    def __init__(self, budget: BodyBudget, user: str = "") -> None:
        self._budget = budget
        self._user = user
        self._size = 0

    def take(self, size: int) -> None:
        """Takes the memory of *size* bytes of a body. Raises Overloaded, RateLimited for a user with too many."""
        budget = self._budget
        memory = size * HELD
        if memory > budget.left:
            raise Overloaded(reason="the body budget of this worker is spent")
        if self._user:
            budget.add_to_user(self._user, size)
        budget.left -= memory
        self._size += size

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._size:
            self._budget.give_back(self._size * HELD)
        if self._user and self._size:
            self._budget.take_from_user(self._user, self._size)


class BodyBudget:
    """Budget of request bodies in one worker: *total* bytes of memory, *per_user* bytes of bodies.

    Received bytes count, not declared ones. Each counts as the HELD bytes that it takes at most. *on_empty* is called
    when nothing is held any more, after bodies that took much memory.
    """

    def __init__(
        self, total: int = 512 * MIB, per_user: int = 256 * MIB, *, on_empty: Callable[[], None] | None = None
    ) -> None:
        self._total = self.left = total
        self._per_user = per_user
        self._on_empty = on_empty
        self._took_much = False
        self._by_user: dict[str, int] = {}

    def resize(self, total: int, per_user: int) -> None:
        """Sets new limits. Bodies that are held stay counted."""
        self.left += total - self._total
        self._total, self._per_user = total, per_user

    def hold(self, user: str = "") -> Hold:
        """Returns the block that holds the body of one request of *user*."""
        return Hold(self, user)

    def give_back(self, memory: int) -> None:
        """Returns *memory* to the budget."""
        self._took_much = self._took_much or self._total - self.left > _MUCH
        self.left += memory
        if self._took_much and self.left == self._total:
            self._took_much = False
            if self._on_empty is not None:
                self._on_empty()

    def add_to_user(self, user: str, size: int) -> None:
        """Raises RateLimited where *user* has too many bytes in flight."""
        size += self._by_user.get(user, 0)
        if size > self._per_user:
            raise RateLimited(
                "Too many bytes of request bodies at once; wait for an answer",
                retry_after=USER_RETRY,
                error_type="too_many_bytes",
                reason="the bytes in flight of this user",
            )
        self._by_user[user] = size

    def take_from_user(self, user: str, size: int) -> None:
        left = self._by_user[user] - size
        if left:
            self._by_user[user] = left
        else:
            del self._by_user[user]


def announces_body(fields: FieldsByName) -> bool:
    """Returns whether a request has a body: not without either field (RFC 9112 section 6.3)."""
    return b"transfer-encoding" in fields or b"content-length" in fields


async def read_body(receive: Receive, fields: FieldsByName, *, limit: int, hold: Hold) -> bytes:
    """Returns the whole body, at most *limit* bytes. *fields* are the header fields by name.

    Raises UnsupportedMediaType (a content coding), ContentTooLarge and Overloaded. Raises ClientGone where the caller
    disconnected before its end: a part of a body is never processed.
    """
    if fields.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise UnsupportedMediaType()
    if _declared(fields) > limit:
        raise _too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the caller left before the request was whole")
        part: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) + len(part) > limit:
            raise _too_large()
        hold.take(len(part))
        if not body and not more:
            return part
        body += part
        if not more:
            return bytes(body)


def json_content_type(fields: FieldsByName) -> None:
    """Checks that a body is declared as JSON in UTF-8 (RFC 8259 section 8.1). Raises UnsupportedMediaType."""
    kind = fields.get(b"content-type", b"")
    if kind == b"application/json" or (not kind and b"transfer-encoding" not in fields and not _declared(fields)):
        return
    kind, *parameters = (part.strip(b" \t").lower() for part in kind.split(b";"))
    if kind != b"application/json" or not _CHARSETS.issuperset(parameters):
        raise UnsupportedMediaType()


def _declared(fields: FieldsByName) -> int:
    """Returns the Content-Length, 0 where there is none. Raises BadRequest."""
    digits = fields.get(b"content-length", b"0").strip(b" \t")
    if not digits.isdigit() or len(digits) > 18:
        raise BadRequest("Content-Length must be one number", headers=[CLOSE])
    return int(digits)


def _too_large() -> ContentTooLarge:
    return ContentTooLarge(headers=[CLOSE])
