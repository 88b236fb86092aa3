"""Path below which the gateway is reached, behind a server's or a mount's root path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from starlette.types import Scope

_HEALTH = frozenset({b"/healthz", b"/readyz"})


@dataclass(slots=True)
class Location:
    """A request's path. *route* is the raw path below the prefix, None outside of it.

    *path* is where the pages are registered, as without a root path. *base* is the path of the prefix in public URLs.
    *is_health* is True for the paths that probes ask.
    """

    base: Final[str]
    route: Final[bytes | None]
    path: Final[bytes]
    is_health: Final[bool]


class BasePath:
    """Locates requests.

    The base is the root path of the scope; *prefix* is appended unless it ends with the prefix.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._prefix_bytes = prefix.encode("ascii")

    def locate(self, root: str, raw: bytes) -> Location:
        """Locates the *raw* path of a request below the *root* path of its application."""
        root = root.rstrip("/")
        relative = _below(raw, root.encode("latin-1")) if root else raw
        is_health = relative in _HEALTH
        if not root.endswith(self._prefix):
            prefix = self._prefix_bytes
            route = relative[len(prefix) :] if relative.startswith(prefix) else None
            return Location(root + self._prefix, route, relative, is_health)
        if is_health:
            return Location(root, None, relative, is_health)
        return Location(root, relative, self._prefix_bytes + relative, is_health)


def raw_path(scope: Scope) -> bytes:
    """Returns the path as sent; of a server that does not pass it, the decoded path, encoded again."""
    raw = scope.get("raw_path")
    if isinstance(raw, bytes):
        return raw.partition(b"?")[0]  # Starlette's TestClient and others differ on the query
    return quote(scope["path"], safe="/!$&'()*+,;=:@~").encode("ascii")


def _below(path: bytes, root: bytes) -> bytes:
    """Removes *root*, which some servers leave out of the path (ASGI, HTTP connection scope)."""
    return path[len(root) :] if path.startswith(root + b"/") or path == root else path
