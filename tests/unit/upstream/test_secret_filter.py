from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamFailed
from proxy.upstream.secret_filter import Sieve

CANARIES = frozenset({b"id:sesecret", b"sesecret"})


def sifted(*chunks: bytes) -> bytes:
    sieve = Sieve(CANARIES)
    return b"".join(map(sieve.sift, chunks)) + sieve.rest()


@given(st.lists(st.sampled_from([b"s", b"se", b"ses", b"id", b":", b"secre", b"x", b""]), max_size=12))
def test_all_passes_or_none_of_the_key(chunks: list[bytes]) -> None:
    """Whatever the chunks, what has no key in it comes out as it went in."""
    whole = b"".join(chunks)
    if b"sesecret" in whole:
        with pytest.raises(UpstreamFailed):
            sifted(*chunks)
    else:
        assert sifted(*chunks) == whole


def test_a_key_is_found_wherever_it_is_cut() -> None:
    """Nothing of it has gone out before it was known."""
    whole = b"before id:sesecret after"
    for cut in range(len(whole)):
        sieve = Sieve(CANARIES)
        held_key = b"sesecret" in whole[:cut]
        passed = b"" if held_key else sieve.sift(whole[:cut])
        with pytest.raises(UpstreamFailed):
            sieve.sift(whole if held_key else whole[cut:])
        assert b"id" not in passed


def test_only_a_beginning_waits() -> None:
    """What cannot be the key's beginning goes on at once."""
    sieve = Sieve(CANARIES)

    assert sieve.sift(b"data: 1\n\n") == b"data: 1\n\n"
    assert sieve.sift(b"data: i") == b"data: "
    assert sieve.sift(b"s\n") == b"is\n"
    assert Sieve(()).sift(b"x") == b"x"
