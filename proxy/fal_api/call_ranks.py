"""Ranks of requests under overload, by their head alone. Nothing is authenticated or resolved."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.http.server.load_limit import Rank

_HEALTH = (b"/healthz", b"/readyz")
_SESSION_FIELDS = frozenset({b"authorization", b"cookie"})
_TARGET = b"x-fal-target-url"


class CallRanks:
    """Ranks by request heads. *session_fields*: further header fields that carry a session.

    *callbacks*: the beginning of the route of fal's webhooks, which have no session.
    """

    def __init__(self, session_fields: frozenset[bytes], callbacks: bytes) -> None:
        self._session_fields = _SESSION_FIELDS | session_fields
        self._callbacks = callbacks
        self.names: Sequence[bytes] = (_TARGET, *self._session_fields)

    def rank(self, method: str, url: bytes, fields: Sequence[tuple[bytes, bytes]]) -> Rank:
        """Returns the rank of a request with *fields*, whose names are in lower case."""
        path = url.partition(b"?")[0]
        if path in _HEALTH:
            return Rank.KEPT
        if method == "OPTIONS" or (method == "POST" and self._callbacks in path):
            return Rank.RESULT
        target, has_session = None, False
        for name, value in fields:
            if name == _TARGET:
                target = value.partition(b"?")[0] if target is None else target
            elif name in self._session_fields:
                has_session = True
        if not has_session:
            return Rank.UNAUTHENTICATED
        target = path if target is None else target
        match method:
            case "GET" | "POST" if target.endswith(b"/stream"):
                return Rank.STREAM
            case "PUT" if target.endswith(b"/cancel"):
                return Rank.KEPT
            case "GET" | "HEAD":
                is_read = b"/requests/" in target and not target.endswith(b"/status")
                return Rank.RESULT if is_read else Rank.POLL
            case _:
                return Rank.POLL if b"/quote/" in path else Rank.SUBMIT
