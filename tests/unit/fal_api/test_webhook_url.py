from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile_webhooks import HOSTS, ROWS

from proxy.fal_api.webhook_url import MAX_URL, parse_receiver_url, parse_webhook_host, rebuild_webhook_url

GOOD = [
    ("https://app.example.com/hook", "https://app.example.com/hook"),
    ("https://hooks.example.com/", "https://hooks.example.com/"),
    ("https://app.example.com", "https://app.example.com/"),
    ("https://app.example.com/a/b-c_d.e~f/", "https://app.example.com/a/b-c_d.e~f/"),
    ("https://app.example.com/...", "https://app.example.com/..."),
    ("https://app.example.com/.hidden", "https://app.example.com/.hidden"),
    ("https://app.example.com/hook?job=1&user=a-b", "https://app.example.com/hook?job=1&user=a-b"),
    ("https://app.example.com?x", "https://app.example.com/?x"),
    ("https://app.example.com/" + "a" * 488, "https://app.example.com/" + "a" * 488),
]


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_a_plain_url_on_a_listed_host_is_rebuilt(text: str, expected: str) -> None:
    """Encoded by any client (wholly, partly, in lower case), fal gets the one spelling."""
    rebuilt = quote(expected, safe="")
    lower = quote(text, safe="").replace("%3A", "%3a").replace("%2F", "%2f")

    for value in (quote(text, safe=""), lower, quote(text), text.replace("&", "%26").replace("?", "%3F")):
        assert rebuild_webhook_url(value.encode(), HOSTS) == rebuilt


@pytest.mark.parametrize("value", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_every_trick_is_refused(value: bytes) -> None:
    """No other host, scheme, port, user or IP address passes, nor a spelling with two readings."""
    with pytest.raises(ValueError, match="URL"):
        rebuild_webhook_url(value, HOSTS)


def test_a_host_must_be_listed() -> None:
    """The same URL without its host in the list."""
    with pytest.raises(ValueError, match="listed host"):
        rebuild_webhook_url(b"https://app.example.com/", {"hooks.example.com"})


PIECES = st.sampled_from(
    ["https://", "app.example.com", "evil.test", "@", ":", "/", "\\", "%", "%25", "%2f", "?", "#", "&", "=", "..", "a"]
)


@given(st.one_of(st.binary(max_size=80), st.lists(PIECES, max_size=9).map(lambda some: "".join(some).encode())))
def test_what_passes_has_one_meaning(value: bytes) -> None:
    """An accepted URL names a listed host by https for two unlike parsers, in its normal form."""
    try:
        text = rebuild_webhook_url(value, HOSTS)
    except ValueError:
        return
    url = unquote(text)
    split, parsed = urlsplit(url), httpx2.URL(url)

    assert split.scheme == parsed.scheme == "https"
    assert split.netloc == parsed.netloc.decode() == parsed.host
    assert parsed.host in HOSTS
    assert str(parsed) == url
    assert len(url) <= MAX_URL + 1
    assert rebuild_webhook_url(text.encode(), HOSTS) == text


@pytest.mark.parametrize(
    "text", ["", "localhost", "App.example.com", "a.b.", "1.2.3.4", "127.1", "0x7f.0x1", "[::1]", "a_b.com", "a.com:1",
             "https://a.com", "*.a.com", "a..com", "-a.com", "a.com/", "é.com", "a.com\n", f"{'a' * 64}.com"]
)  # fmt: skip
def test_a_listed_host_is_a_plain_name(text: str) -> None:
    """An entry that could match several hosts, an address, or nothing at all is refused."""
    with pytest.raises(ValueError, match="host name"):
        parse_webhook_host(text)


@pytest.mark.parametrize("text", ["app.example.com", "a.b", "xn--bcher-kva.example"])
def test_a_good_host_is_kept(text: str) -> None:
    """Unchanged."""
    assert parse_webhook_host(text) == text


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com/hooks/fal", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://127.0.0.1:9000/x?a=1", "http://127.0.0.1:9000"),
        ("http://[::1]:9000/x", "http://[::1]:9000"),
    ],
)
def test_the_apps_url(text: str, origin: str) -> None:
    """The operator's URL may have a port; its origin is judged like that of an upstream."""
    assert parse_receiver_url(text) == (origin, text)


@pytest.mark.parametrize(
    "text",
    ["app.example.com/x", "https://a@b.example/x", "https://b.example/#x", "https://B.example/", "ftp://b.example/"],
)
def test_a_bad_url_of_the_app(text: str) -> None:
    """Refused when the configuration is read."""
    with pytest.raises(ValueError, match="plain https URL"):
        parse_receiver_url(text)
