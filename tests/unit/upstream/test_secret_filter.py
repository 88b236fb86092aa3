from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamFailed
from proxy.upstream.secret_filter import SecretFilter, SecretSearch

SECRETS = SecretSearch(["id:sesecret", "sesecret"])


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
        assert b"ses" not in passed


def test_only_a_beginning_waits() -> None:
    """Content that cannot be the key's beginning is passed on at once."""
    secret_filter = SecretFilter(SECRETS)

    assert secret_filter.feed(b"data: 1\n\n") == b"data: 1\n\n"
    assert secret_filter.feed(b"data: s") == b"data: "
    assert secret_filter.feed(b"o\n") == b"so\n"
    assert SecretFilter(SecretSearch(())).feed(b"x") == b"x"


@given(st.lists(st.integers(0, 2), min_size=8, max_size=8), st.integers(0, 70))
def test_a_key_in_json_escapes_is_found(forms: list[int], cut: int) -> None:
    """Each character may be written as it is, or as an escape of small or large digits, cut anywhere."""
    written = b"".join(
        (b"%c", b"\\u%04x", b"\\u%04X")[form] % character for form, character in zip(forms, b"sesecret", strict=True)
    )
    whole = b'{"a":"\\u00e9\\n%b"}' % written

    assert whole in SECRETS
    with pytest.raises(UpstreamFailed):
        filtered(whole[:cut], whole[cut:])


@given(st.lists(st.sampled_from([b"\\", b"\\u00", b"73", b"65", b"s", b"e", b"x", b"\\n"]), max_size=12))
def test_escapes_without_the_key_come_out_as_they_went_in(chunks: list[bytes]) -> None:
    """A text like the beginning of an escaped key waits, and is not lost."""
    assert filtered(*chunks) == b"".join(chunks)


def test_an_escape_that_cannot_be_the_keys_does_not_wait() -> None:
    """A stream of text with escapes is not delayed."""
    secret_filter = SecretFilter(SECRETS)

    assert secret_filter.feed(b'data: "\\u00e9\\n"\n\n') == b'data: "\\u00e9\\n"\n\n'
    assert secret_filter.feed(b"data: \\u007") == b"data: "
    assert secret_filter.feed(b"9") == b"\\u0079"


@pytest.mark.parametrize("written", [rb"a\/b\"c\\d", rb'a/b"c\u005cd', rb'\u0061/b"c\\d'])
def test_a_key_with_characters_that_json_escapes(written: bytes) -> None:
    """A slash, a quotation mark and a backslash have short escapes."""
    assert written in SecretSearch(['a/b"c\\d'])


def test_an_escaped_backslash_is_no_escape() -> None:
    """After an escaped backslash the text goes on as it is."""
    assert rb"sesecre\\u0074" not in SECRETS
    assert rb"sesecre\u0074" in SECRETS
