"""Tests of proxy.fal_api.call_ranks."""

from __future__ import annotations

import pytest

from proxy.fal_api.call_ranks import CallRanks
from proxy.http.server.load_limit import Rank

RANKS = CallRanks(frozenset({b"x-session"}), b"/webhooks/fal/")
SESSION = (b"authorization", b"Bearer x")
PATHS = [
    ("GET", b"/healthz", Rank.KEPT),
    ("GET", b"/readyz?verbose", Rank.KEPT),
    ("PUT", b"/api/fal/queue/a/b/requests/id/cancel", Rank.KEPT),
    ("PUT", b"/api/fal/queue/a/b/requests/id/cancel?x=1", Rank.KEPT),
    ("POST", b"/api/fal/webhooks/fal/seal", Rank.RESULT),
    ("OPTIONS", b"/api/fal/queue/a/b", Rank.RESULT),
    ("GET", b"/api/fal/queue/a/b/requests/id", Rank.RESULT),
    ("GET", b"/api/fal/queue/a/b/requests/id/response", Rank.RESULT),
    ("GET", b"/api/fal/queue/a/b/requests/id/status", Rank.POLL),
    ("GET", b"/api/fal/queue/a/b/requests/id/status?logs=1", Rank.POLL),
    ("GET", b"/api/fal/queue/a/b/requests/id/status/stream", Rank.STREAM),
    ("GET", b"/api/fal/usage", Rank.POLL),
    ("GET", b"/api/fal/jobs", Rank.POLL),
    ("POST", b"/api/fal/quote/a/b", Rank.POLL),
    ("POST", b"/api/fal/queue/a/b", Rank.SUBMIT),
    ("POST", b"/api/fal/run/a/b", Rank.SUBMIT),
    ("POST", b"/api/fal/run/a/b/stream", Rank.STREAM),
    ("PUT", b"/api/fal/queue/a/b", Rank.SUBMIT),
]


@pytest.mark.parametrize(("method", "url", "rank"), PATHS)
def test_a_request_is_ranked_by_method_and_path(method: str, url: bytes, rank: Rank) -> None:
    """A target in a header gives the same rank as one in the path."""
    assert RANKS.rank(method, url, [SESSION]) is rank
    target = (b"x-fal-target-url", url.replace(b"/api/fal/queue", b"https://queue.fal.run"))
    if url.startswith(b"/api/fal/queue"):
        assert RANKS.rank(method, b"/api/fal/proxy", [SESSION, target]) is rank


@pytest.mark.parametrize("field", [b"authorization", b"cookie", b"x-session"])
def test_a_request_without_a_session_comes_last(field: bytes) -> None:
    """Any field that may carry a session counts; none is verified here."""
    url = b"/api/fal/queue/a/b/requests/id/cancel"

    assert RANKS.rank("PUT", url, [(field, b"x")]) is Rank.KEPT
    assert RANKS.rank("PUT", url, [(b"accept", b"x")]) is Rank.UNAUTHENTICATED
