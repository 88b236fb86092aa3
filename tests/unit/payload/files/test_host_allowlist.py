from __future__ import annotations

import pytest
from support.hostile_urls import GOOD_URLS, HOSTILE_URLS

from proxy.payload.files.host_allowlist import NOT_LISTED, NOT_PUBLIC, HostAllowlist, host_pattern, is_public

ANYWHERE = HostAllowlist.from_patterns(["*"])
LOCAL = "http://127.0.0.1:9002"


@pytest.mark.parametrize("url", [url for _, url in HOSTILE_URLS], ids=[name for name, _ in HOSTILE_URLS])
@pytest.mark.parametrize(
    "hosts",
    [ANYWHERE, HostAllowlist.from_patterns(["example.com", "*.example.com"], local=LOCAL)],
    ids=["anywhere", "listed"],
)
def test_hostile_urls_are_never_public(hosts: HostAllowlist, url: str) -> None:
    """Addresses, private names, other schemes and ambiguous spellings are refused by every list."""
    assert hosts.problem(url) == NOT_PUBLIC


@pytest.mark.parametrize("url", GOOD_URLS.values(), ids=list(GOOD_URLS))
def test_public_urls_pass(url: str) -> None:
    """A public https URL is one in every form people have them."""
    assert ANYWHERE.problem(url) is None


def test_the_table_is_as_large_as_it_should_be() -> None:
    """Each row is its own."""
    assert len({url for _, url in HOSTILE_URLS}) == len(HOSTILE_URLS) >= 100


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://cdn.example.com/a.png", None),
        ("https://CDN.Example.com/a.png", None),
        ("https://a.fal.media/a.png", None),
        ("https://a.b.fal.media/a.png", None),
        ("https://fal.media/a.png", NOT_LISTED),
        ("https://evilfal.media/a.png", NOT_LISTED),
        ("https://fal.media.evil.com/a.png", NOT_LISTED),
        ("https://cdn.example.com.evil.com/a.png", NOT_LISTED),
        ("https://a.cdn.example.com/a.png", NOT_LISTED),
        ("https://example.com/a.png", NOT_LISTED),
        ("https://evil.com/https://cdn.example.com/a.png", NOT_LISTED),
        ("https://evil.com/?cdn.example.com", NOT_LISTED),
    ],
)
def test_listed_hosts(url: str, fault: str | None) -> None:
    """A name stands for itself, `*.` and a name for all below it and not for itself."""
    assert HostAllowlist.from_patterns(["cdn.example.com", "*.fal.media"]).problem(url) == fault


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        (f"{LOCAL}/files/a.png", True),
        (f"{LOCAL}/", True),
        (LOCAL, False),
        (f"{LOCAL}0/files/a.png", False),
        (f"{LOCAL}@evil.com/a.png", False),
        (f"{LOCAL}.evil.com/a.png", False),
        (f"{LOCAL}\\@evil.com/", False),
        (f"{LOCAL}?x", False),
        (f"{LOCAL}/a b", False),
        (f"{LOCAL}/a\n", False),
        (f"{LOCAL}/\u0444", False),
        ("http://127.0.0.1:9003/files/a.png", False),
        ("http://localhost:9002/files/a.png", False),
        ("https://127.0.0.1:9002/files/a.png", False),
        (f"{LOCAL}/{'a' * 9000}", False),
    ],
)
def test_the_sandbox_is_one_origin(url: str, passes: bool) -> None:
    """Only the very origin that was named is let through without TLS, and only where one was."""
    assert (HostAllowlist.from_patterns(["example.com"], local=LOCAL).problem(url) is None) is passes
    assert HostAllowlist.from_patterns(["*"]).problem(url) == NOT_PUBLIC


NO_PATTERNS = [
    *("", "localhost", "com", "127.0.0.1", "*.", "*.com", "**", "*example.com", "a.*.com", "https://example.com"),
    *(
        "example.com:443",
        "example.com/",
        "example.com.",
        "a.local",
        "x.internal",
        "nip.io",
        "*.nip.io",
        "[::1]",
        "é.com",
    ),
]


@pytest.mark.parametrize("text", NO_PATTERNS)
def test_a_pattern_that_could_never_be_safe_is_refused(text: str) -> None:
    """A listed host must be a public name; a listing is no way round the rules."""
    with pytest.raises(ValueError, match="public host name"):
        host_pattern(text)


@pytest.mark.parametrize(
    ("text", "pattern"), [("*", "*"), ("CDN.Example.com", "cdn.example.com"), ("*.Fal.Media", "*.fal.media")]
)
def test_a_pattern_is_kept_in_lower_case(text: str, pattern: str) -> None:
    """Host names have no case."""
    assert host_pattern(text) == pattern


def test_public_is_not_a_suffix_of_letters() -> None:
    """Whole labels are compared."""
    assert is_public("mylocal.com")
    assert not is_public("my.local")
