from __future__ import annotations

import pytest

from proxy.http.base_path import BasePath, Location, raw_path

BASE = BasePath("/api/fal")


# (path, root path, the base of URLs, the route below the prefix, the path of a page)
LOCATIONS = {
    "route": ("/api/fal/queue/a/b", "", "/api/fal", b"/queue/a/b", b"/api/fal/queue/a/b"),
    "page": ("/healthz", "", "/api/fal", None, b"/healthz"),
    "mounted": ("/api/fal/queue/a/b", "/api/fal", "/api/fal", b"/queue/a/b", b"/api/fal/queue/a/b"),
    "mounted-page": ("/api/fal/usage", "/api/fal", "/api/fal", b"/usage", b"/api/fal/usage"),
    "mounted-health": ("/api/fal/healthz", "/api/fal", "/api/fal", None, b"/healthz"),
    "mounted-below": ("/x/api/fal/queue/a/b", "/x/api/fal", "/x/api/fal", b"/queue/a/b", b"/api/fal/queue/a/b"),
    "other-mount": ("/x/api/fal/queue/a/b", "/x", "/x/api/fal", b"/queue/a/b", b"/api/fal/queue/a/b"),
    "other-mount-page": ("/x/healthz", "/x", "/x/api/fal", None, b"/healthz"),
    "root-left-out": ("/api/fal/queue/a/b", "/x", "/x/api/fal", b"/queue/a/b", b"/api/fal/queue/a/b"),
    "root-with-slash": ("/x/api/fal/usage", "/x/", "/x/api/fal", b"/usage", b"/api/fal/usage"),
    "similar-root": ("/xy/api/fal/usage", "/x", "/x/api/fal", None, b"/xy/api/fal/usage"),
}


@pytest.mark.parametrize("name", LOCATIONS)
def test_a_request_is_located_below_any_root(name: str) -> None:
    """The prefix is appended to a root path that does not end with it."""
    path, root, base, route, page = LOCATIONS[name]

    is_health = page in (b"/healthz", b"/readyz")

    assert BASE.locate(root, path.encode()) == Location(base, route, page, is_health)


@pytest.mark.parametrize(
    ("raw", "path", "expected"),
    [(b"/a%2Fb", "/a/b", b"/a%2Fb"), (b"/a?b=c", "/a", b"/a"), (None, "/a b/%", b"/a%20b/%25")],
    ids=["as-sent", "with-a-query", "encoded-again"],
)
def test_the_path_is_the_one_sent(raw: bytes | None, path: str, expected: bytes) -> None:
    """A server that passes no raw path gets its decoded path encoded again."""
    assert raw_path({"path": path} if raw is None else {"path": path, "raw_path": raw}) == expected
