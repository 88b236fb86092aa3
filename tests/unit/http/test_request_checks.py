from __future__ import annotations

import pytest
from starlette.types import Scope

from proxy.errors import CLOSE, BadRequest, MethodNotAllowed
from proxy.http.request_checks import METHODS, check_request, check_request_line

Fields = list[tuple[bytes, bytes]]

HOST = (b"host", b"gate.example.com")


def scope(
    *fields: tuple[bytes, bytes],
    method: str = "POST",
    version: str = "1.1",
    path: bytes = b"/api/fal/proxy",
    query: bytes = b"",
) -> Scope:
    return {
        "type": "http",
        "method": method,
        "http_version": version,
        "raw_path": path,
        "query_string": query,
        "headers": list(fields),
    }


HONEST: dict[str, Scope] = {
    "post": scope(HOST),
    "http-1.0": scope(HOST, version="1.0"),
    "chunked": scope(HOST, (b"transfer-encoding", b"chunked")),
    "chunked-upper-case": scope(HOST, (b"transfer-encoding", b"CHUNKED")),
    "content-length": scope(HOST, (b"content-length", b"5")),
    "query": scope(HOST, query=b"a=b&c=/?"),
    "double-slash": scope(HOST, path=b"//a"),
    "encoded-hash": scope(HOST, path=b"/a%23b"),
    "many-others": scope(HOST, (b"accept", b"a"), (b"accept", b"b"), (b"x_host", b"c"), (b"x_host", b"d")),
    "connection-word-upgrade": scope(HOST, (b"connection", b"upgrade")),
    **{f"method-{method}": scope(HOST, method=method) for method in METHODS},
}

HOSTS = [
    b"a",
    b"localhost:8080",
    b"GATE.example.com",
    b"gate.example.com.",
    b"my_service:80",
    b"127.0.0.1",
    b"127.0.0.1:8080",
    b"[::1]",
    b"[2001:db8::1]:443",
    b"[::ffff:127.0.0.1]",
    b"xn--bcher-kva.example",
    b"a" * 63 + b".example",
]

HOSTILE: dict[str, Scope] = {
    "upgrade": scope(HOST, (b"upgrade", b"websocket"), (b"connection", b"upgrade")),
    "upgrade-alone": scope(HOST, (b"upgrade", b"x")),
    "upgrade-empty": scope(HOST, (b"upgrade", b"")),
    "upgrade-h2c": scope(HOST, (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABk")),
    "upgrade-before-method": scope(HOST, (b"upgrade", b"x"), method="CONNECT"),
    "http-0.9": scope(HOST, version="0.9"),
    "http-1.2": scope(HOST, version="1.2"),
    "http-2": scope(HOST, version="2"),
    "http-2.0": scope(HOST, version="2.0"),
    "http-3": scope(HOST, version="3"),
    "path-empty": scope(HOST, path=b""),
    "path-relative": scope(HOST, path=b"a"),
    "path-asterisk": scope(HOST, path=b"*"),
    "path-absolute": scope(HOST, path=b"http://gate.example.com/a"),
    "path-authority": scope(HOST, path=b"gate.example.com:443"),
    "path-backslash": scope(HOST, path=b"\\a"),
    "path-fragment": scope(HOST, path=b"/a#b"),
    "query-fragment": scope(HOST, query=b"a#b"),
    "te-identity": scope(HOST, (b"transfer-encoding", b"identity")),
    "te-gzip-chunked": scope(HOST, (b"transfer-encoding", b"gzip, chunked")),
    "te-spaced": scope(HOST, (b"transfer-encoding", b" chunked")),
    "te-empty": scope(HOST, (b"transfer-encoding", b"")),
    "te-twice": scope(HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")),
    "te-http-1.0": scope(HOST, (b"transfer-encoding", b"chunked"), version="1.0"),
    "te-and-cl": scope(HOST, (b"transfer-encoding", b"chunked"), (b"content-length", b"5")),
    "cl-twice": scope(HOST, (b"content-length", b"5"), (b"content-length", b"5")),
    "content-type-twice": scope(HOST, (b"content-type", b"application/json"), (b"content-type", b"text/plain")),
    "content-encoding-twice": scope(HOST, (b"content-encoding", b"identity"), (b"content-encoding", b"gzip")),
    "authorization-twice": scope(HOST, (b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")),
    "idempotency-key-twice": scope(HOST, (b"idempotency-key", b"a"), (b"idempotency-key", b"b")),
    "target-url-twice": scope(HOST, (b"x-fal-target-url", b"a"), (b"x-fal-target-url", b"a")),
    "host-twice": scope(HOST, HOST),
    "host-missing": scope(),
    "host-missing-http-1.0": scope(version="1.0"),
    "host-underscore": scope((b"x_host", b"a")),
}

BAD_HOSTS = [
    b"",
    b" ",
    b".",
    b"..",
    b".a",
    b"a..b",
    b"-a",
    b"a-",
    b"a-.b",
    b"a b",
    b"a,b",
    b"a/b",
    b"a?b",
    b"a#b",
    b"a\\b",
    b"a@b",
    b"*",
    b"*.example.com",
    b"http://a",
    b'"a"',
    b"a%2eb",
    b"\xe9",
    b"a\xef\xbc\x8eb",
    b"a\n",
    b"a\0",
    b":80",
    b"a:",
    b"a:b",
    b"a:-1",
    b"a:+1",
    b"a:80:80",
    b"a:123456",
    b"::1",
    b"[]",
    b"[:]",
    b"[::1",
    b"::1]",
    b"[::1]a",
    b"[::1]:",
    b"[::1::]",
    b"[1:2:3]",
    b"[127.0.0.1]",
    b"[fe80::1%25eth0]",
    b"[v1.a]",
    b"[gate.example.com]",
    b"a" * 64,
    b"a." * 20_000 + b"-",
]


@pytest.mark.parametrize("name", HONEST)
def test_honest_requests_pass(name: str) -> None:
    """Nothing that a client library sends is refused."""
    check(HONEST[name])


def check(scope: Scope) -> None:
    """Checks the request line too, which our own connections check before the application."""
    check_request_line(scope["http_version"], scope["raw_path"])
    check_request(scope)


@pytest.mark.parametrize("host", HOSTS)
def test_names_and_addresses_are_hosts(host: bytes) -> None:
    """RFC 9110 section 7.2: a name or an address, with or without a port."""
    check_request(scope((b"host", host)))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_end_the_connection(name: str) -> None:
    """400, and the connection carries no further request."""
    with pytest.raises(BadRequest) as refused:
        check(HOSTILE[name])

    assert CLOSE in refused.value.headers


@pytest.mark.parametrize("host", BAD_HOSTS, ids=lambda host: repr(host[:20]))
def test_anything_else_is_no_host(host: bytes) -> None:
    """A long value that is no host costs no more than reading it."""
    with pytest.raises(BadRequest):
        check_request(scope((b"host", host)))


@pytest.mark.parametrize(
    "method", ["TRACE", "CONNECT", "DELETE", "PATCH", "QUERY", "PROPFIND", "get", "Post", "", "GET "]
)
def test_other_methods_are_answered_with_the_known_ones(method: str) -> None:
    """RFC 9110 section 15.5.6: the Allow field says what there is."""
    with pytest.raises(MethodNotAllowed) as refused:
        check_request(scope(HOST, method=method))

    assert (b"allow", b"GET, HEAD, POST, PUT, OPTIONS") in refused.value.headers


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        (b"gate.example.com", True),
        (b"GATE.Example.COM", True),
        (b"gate.example.com:8080", True),
        (b"[::1]:80", True),
        (b"example.com", False),
        (b"gate.example.com.", False),
        (b"gate.example.com.evil.test", False),
        (b"evil.test", False),
        (b"[::2]", False),
    ],
)
def test_a_list_of_hosts_is_kept(host: bytes, passes: bool) -> None:
    """By whole names, whatever the port and the case; DNS rebinding ends here."""
    allowed = frozenset({b"gate.example.com", b"[::1]"})
    if passes:
        check_request(scope((b"host", host)), allowed_hosts=allowed)
    else:
        with pytest.raises(BadRequest):
            check_request(scope((b"host", host)), allowed_hosts=allowed)


@pytest.mark.parametrize("target", [b"/a?b#c", b"http://a/b", b"*", b"a:443", b""])
def test_the_request_line_is_judged_as_sent(target: bytes) -> None:
    """A server that has cut it into a path and a query has forgotten what it was."""
    with pytest.raises(BadRequest):
        check_request_line("1.1", target)
