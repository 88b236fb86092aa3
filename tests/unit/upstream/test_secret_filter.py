from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamFailed
from proxy.upstream.secret_filter import SecretFilter

SECRETS = frozenset({b"id:sesecret", b"sesecret"})


def filtered(*chunks: bytes) -> bytes:
    secret_filter = SecretFilter(SECRETS)
    return b"".join(map(secret_filter.feed, chunks)) + secret_filter.flush()


@given(st.lists(st.sampled_from([b"s", b"se", b"ses", b"id", b":", b"secre", b"x", b""]), max_size=12))
def test_all_passes_or_none_of_the_key(chunks: list[bytes]) -> None:
    """Content without the key comes out as it went in, for any chunks."""
    whole = b"".join(chunks)
    if b"sesecret" in whole:
        with pytest.raises(UpstreamFailed):
            filtered(*chunks)
    else:
        assert filtered(*chunks) == whole


def test_a_key_is_found_wherever_it_is_cut() -> None:
    """Nothing of it has gone out before it was known."""
    whole = b"before id:sesecret after"
    for cut in range(len(whole)):
        secret_filter = SecretFilter(SECRETS)
        held_key = b"sesecret" in whole[:cut]
        passed = b"" if held_key else secret_filter.feed(whole[:cut])
        with pytest.raises(UpstreamFailed):
            secret_filter.feed(whole if held_key else whole[cut:])
        assert b"id" not in passed


def test_only_a_beginning_waits() -> None:
    """Content that cannot be the key's beginning is passed on at once."""
    secret_filter = SecretFilter(SECRETS)

    assert secret_filter.feed(b"data: 1\n\n") == b"data: 1\n\n"
    assert secret_filter.feed(b"data: i") == b"data: "
    assert secret_filter.feed(b"s\n") == b"is\n"
    assert SecretFilter(()).feed(b"x") == b"x"
