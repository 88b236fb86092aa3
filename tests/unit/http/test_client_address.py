from __future__ import annotations

from ipaddress import ip_network

import pytest

from proxy.errors import BadRequest
from proxy.http.client_address import ClientAddress, address_key, client_address, is_trusted

TRUSTED = [ip_network(text) for text in ("10.0.0.0/8", "192.0.2.7/32", "2001:db8:f::/48")]
PROXY = "10.1.2.3"

# (peer, the values of X-Forwarded-For in their order, the client)
CHAINS: dict[str, tuple[str, list[bytes], str]] = {
    "untrusted-peer": ("203.0.113.5", [], "203.0.113.5"),
    "untrusted-peer-spoofs": ("203.0.113.5", [b"198.51.100.1"], "203.0.113.5"),
    "untrusted-peer-spoofs-a-proxy": ("203.0.113.5", [b"10.0.0.1"], "203.0.113.5"),
    "loopback-is-not-trusted-by-itself": ("127.0.0.1", [b"198.51.100.1"], "127.0.0.1"),
    "neighbour-of-a-trusted-host": ("192.0.2.8", [b"198.51.100.1"], "192.0.2.8"),
    "trusted-host": ("192.0.2.7", [b"198.51.100.1"], "198.51.100.1"),
    "no-header": (PROXY, [], PROXY),
    "one": (PROXY, [b"198.51.100.1"], "198.51.100.1"),
    "spoofed-left": (PROXY, [b"1.1.1.1, 198.51.100.1"], "198.51.100.1"),
    "spoofed-as-proxy": (PROXY, [b"10.9.9.9, 198.51.100.1"], "198.51.100.1"),
    "two-proxies": (PROXY, [b"198.51.100.1, 10.0.0.9"], "198.51.100.1"),
    "two-proxies-and-a-spoof": (PROXY, [b"1.1.1.1, 198.51.100.1, 10.0.0.9"], "198.51.100.1"),
    "two-fields": (PROXY, [b"1.1.1.1", b"198.51.100.1"], "198.51.100.1"),
    "two-fields-of-lists": (PROXY, [b"1.1.1.1, 2.2.2.2", b"198.51.100.1, 10.0.0.9"], "198.51.100.1"),
    "all-trusted": (PROXY, [b"10.0.0.1, 10.0.0.2"], "10.0.0.1"),
    "no-space": (PROXY, [b"1.1.1.1,198.51.100.1"], "198.51.100.1"),
    "tabs": (PROXY, [b"1.1.1.1,\t198.51.100.1\t"], "198.51.100.1"),
    "port": (PROXY, [b"198.51.100.1:443"], "198.51.100.1"),
    "ipv6": (PROXY, [b"2001:db8::5"], "2001:db8::5"),
    "ipv6-in-full": (PROXY, [b"2001:0DB8:0:0:0:0:0:5"], "2001:db8::5"),
    "ipv6-brackets": (PROXY, [b"[2001:db8::5]"], "2001:db8::5"),
    "ipv6-port": (PROXY, [b"[2001:db8::5]:443"], "2001:db8::5"),
    "ipv6-proxy": ("2001:db8:f::1", [b"198.51.100.1"], "198.51.100.1"),
    "ipv6-proxies": ("2001:db8:f::1", [b"198.51.100.1, [2001:db8:f::2]:80"], "198.51.100.1"),
    "ipv6-peer-in-full": ("2001:0db8:0000::0005", [], "2001:db8::5"),
    "mapped-peer": ("::ffff:203.0.113.5", [b"198.51.100.1"], "203.0.113.5"),
    "mapped-proxy": ("::ffff:10.1.2.3", [b"198.51.100.1"], "198.51.100.1"),
    "mapped-proxy-in-hex": ("::ffff:0a01:0203", [b"198.51.100.1"], "198.51.100.1"),
    "mapped-client": (PROXY, [b"::ffff:198.51.100.1"], "198.51.100.1"),
    "mapped-hop": (PROXY, [b"198.51.100.1, ::ffff:10.0.0.9"], "198.51.100.1"),
    "unix-socket": ("", [b"198.51.100.1"], ""),
    "garbage-left-of-the-client": (PROXY, [b"unknown, 198.51.100.1"], "198.51.100.1"),
    "sixteen-proxies": (PROXY, [b"198.51.100.1" + b", 10.0.0.9" * 16], "198.51.100.1"),
}

# What makes the whole list worthless, where it stands before an untrusted address is found.
MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "only-commas": b",,",
    "trailing-comma": b"198.51.100.1,",
    "unknown": b"unknown",
    "obfuscated": b"_hidden",
    "name": b"example.com",
    "quoted": b'"198.51.100.1"',
    "forwarded-syntax": b"for=198.51.100.1",
    "leading-zero": b"198.051.100.001",
    "hex": b"0xc6.0x33.0x64.0x01",
    "decimal": b"3325256705",
    "three-parts": b"198.51.100",
    "out-of-range": b"198.51.100.256",
    "network": b"198.51.100.0/24",
    "zone": b"fe80::1%eth0",
    "zone-in-brackets": b"[fe80::1%25eth0]",
    "ipv4-in-brackets": b"[198.51.100.1]",
    "open-bracket": b"[2001:db8::5",
    "bracket-rest": b"[2001:db8::5]x",
    "two-ports": b"198.51.100.1:80:80",
    "port-name": b"198.51.100.1:http",
    "port-empty": b"198.51.100.1:",
    "port-six-digits": b"198.51.100.1:123456",
    "inner-space": b"198.51. 100.1",
    "semicolon": b"198.51.100.1;10.0.0.9",
    "full-width": b"\xef\xbc\x91.2.3.4",
    "not-ascii": b"198.51.100.1\xa0",
    "nul": b"198.51.100.1\0",
    "line-end": b"198.51.100.1\n",
    "too-long": b"1" * 4000,
    "seventeen-proxies": b"198.51.100.1" + b", 10.0.0.9" * 17,
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_client_is_the_nearest_that_is_not_our_proxy(name: str) -> None:
    """Values left of the right-most untrusted address are ignored, and all from an untrusted peer."""
    peer, values, client = CHAINS[name]

    assert client_address(peer, [(b"x-forwarded-for", value) for value in values], trusted=TRUSTED) == client


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_list_is_no_list(name: str) -> None:
    """The peer is what is left to know, not a guess at what was meant."""
    hops = [(b"x-forwarded-for", MALFORMED[name])]

    assert client_address(PROXY, hops, trusted=TRUSTED) == PROXY


def test_nobody_is_trusted_by_default() -> None:
    """Without a word of the operator a proxy is a client."""
    assert client_address(PROXY, [(b"x-forwarded-for", b"198.51.100.1")]) == PROXY


def test_only_the_configured_header_counts() -> None:
    """A proxy that sets one does not clear the others."""
    fields = [
        (b"x-forwarded-for", b"1.1.1.1"),
        (b"x-real-ip", b"198.51.100.1"),
        (b"forwarded", b"for=2.2.2.2"),
        (b"x_real_ip", b"3.3.3.3"),
    ]

    assert client_address(PROXY, fields, trusted=TRUSTED, header=b"x-real-ip") == "198.51.100.1"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_a_subscriber_is_counted_once(address: str, key: str) -> None:
    """All addresses of a /64 have one key."""
    assert address_key(address) == key


@pytest.mark.parametrize(
    ("peer", "trusted"), [(PROXY, True), ("::ffff:10.1.2.3", True), ("11.0.0.1", False), ("", False)]
)
def test_trust_is_by_network(peer: str, trusted: bool) -> None:
    """In any spelling of the address; what is no address is not trusted."""
    assert is_trusted(peer, TRUSTED) is trusted


# (number of front proxies, values of the field, the client)
HOPS = {
    "one": (1, [b"198.51.100.1"], "198.51.100.1"),
    "one-of-many": (1, [b"6.6.6.6, 198.51.100.1"], "198.51.100.1"),
    "two": (2, [b"6.6.6.6, 198.51.100.1, 10.0.0.1"], "198.51.100.1"),
    "two-fields": (2, [b"6.6.6.6", b"198.51.100.1", b"10.0.0.1"], "198.51.100.1"),
    "ipv6": (1, [b"[2001:db8::1]:443"], "2001:db8::1"),
    "mapped": (1, [b"::ffff:198.51.100.1"], "198.51.100.1"),
}
TOO_FEW = {"none": (1, []), "empty": (1, [b""]), "one-of-two": (2, [b"198.51.100.1"]), "no-address": (1, [b"unknown"])}


def resolve(hops: int, values: list[bytes]) -> str:
    headers = [(b"x-forwarded-for", value) for value in values]
    scope = {"client": ("203.0.113.9", 1), "headers": headers}
    return ClientAddress((), "x-forwarded-for", hops=hops).resolve(scope)


@pytest.mark.parametrize("name", HOPS)
def test_a_number_of_proxies_is_counted_from_the_right(name: str) -> None:
    """Values further left came from the client, and are ignored."""
    hops, values, client = HOPS[name]

    assert resolve(hops, values) == client


@pytest.mark.parametrize("name", TOO_FEW)
def test_a_request_past_the_proxies_is_refused(name: str) -> None:
    """With fewer hops than there are proxies it did not come through them."""
    with pytest.raises(BadRequest):
        resolve(*TOO_FEW[name])
