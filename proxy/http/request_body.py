"""Request bodies: read within a limit of their own, and within the budget of the worker."""

from __future__ import annotations

from types import TracebackType

from starlette.types import Receive

from proxy.errors import CLOSE, BadRequest, ClientGone, ContentTooLarge, Overloaded, UnsupportedMediaType
from proxy.http.fields import FieldsByName

_CHARSETS = frozenset({b"", b"charset=utf-8", b'charset="utf-8"'})


class Hold:
    """Share of a budget, in `with Hold(budget) as hold:` around all use of a request's body.

    At its end the bytes return to the budget.
    """

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._size = 0

    def take(self, size: int) -> None:
        """Takes *size* bytes of the budget. Raises Overloaded."""
        if size > self._budget.left:
            raise Overloaded(reason="the body budget of this worker is spent")
        self._budget.left -= size
        self._size += size

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.left += self._size


class BodyBudget:
    """Budget of *total* bytes of request bodies in one worker. Received bytes count, not declared ones."""

    def __init__(self, total: int = 256 * 1024 * 1024) -> None:
        self.left = total

    def hold(self) -> Hold:
        """Returns the block that holds the body of one request."""
        return Hold(self)


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
