"""Raw requests that must be refused: bytes, expected status, and the number of requests that may pass.

Made for this project after RFC 9112 and the classes of request smuggling; none is copied from a list. Every row ends
with the connection closed by the server. `/smuggled` must never be heard; neither may more than `heard` of `/hostile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
_CHUNKED = b"Transfer-Encoding: chunked"
_LAST = b"0\r\n\r\n"
_CLOSE = b"Connection: close"


@dataclass(frozen=True)
class Hostile:
    """A raw request. *endless* is sent after *segments*, again and again, until the server closes.

    *threats* are names of the table of attacks; *slow* rows end by a deadline.
    """

    id: str
    threats: str
    status: int
    segments: tuple[bytes, ...]
    endless: bytes = b""
    heard: int = 0
    slow: bool = False


def request(
    *fields: bytes, line: bytes = b"POST /hostile HTTP/1.1", host: bytes = b"Host: a", body: bytes = b""
) -> bytes:
    head = [line, host, *fields] if host else [line, *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def _length(*parts: bytes) -> bytes:
    return b"Content-Length: %d" % sum(map(len, parts))


def _rows(threats: str, status: int, cases: dict[str, bytes]) -> Iterator[Hostile]:
    return (Hostile(name, threats, status, (raw,)) for name, raw in cases.items())


# Two ways to say how long the body is, or one that only some would read.
_LENGTHS: dict[str, tuple[bytes, ...]] = {
    "cl-then-te": (b"Content-Length: 5", _CHUNKED),
    "te-then-cl": (_CHUNKED, b"Content-Length: 5"),
    "te-twice": (_CHUNKED, _CHUNKED),
    "te-chunked-then-identity": (_CHUNKED, b"Transfer-Encoding: identity"),
    "te-identity-then-chunked": (b"Transfer-Encoding: identity", _CHUNKED),
    "te-identity": (b"Transfer-Encoding: identity", b"Content-Length: 5"),
    "te-gzip": (b"Transfer-Encoding: gzip",),
    "te-gzip-chunked": (b"Transfer-Encoding: gzip, chunked",),
    "te-chunked-gzip": (b"Transfer-Encoding: chunked, gzip",),
    "te-chunked-chunked": (b"Transfer-Encoding: chunked, chunked",),
    "te-leading-comma": (b"Transfer-Encoding: , chunked",),
    "te-trailing-comma": (b"Transfer-Encoding: chunked,",),
    "te-xchunked": (b"Transfer-Encoding: xchunked", b"Content-Length: 5"),
    "te-chunkedx": (b"Transfer-Encoding: chunkedx", b"Content-Length: 5"),
    "te-parameter": (b"Transfer-Encoding: chunked;q=1",),
    "te-quoted": (b'Transfer-Encoding: "chunked"', b"Content-Length: 5"),
    "te-empty": (b"Transfer-Encoding:", b"Content-Length: 5"),
    "te-vertical-tab": (b"Transfer-Encoding: \x0bchunked", b"Content-Length: 5"),
    "te-form-feed": (b"Transfer-Encoding: chunked\x0c", b"Content-Length: 5"),
    "te-nul": (b"Transfer-Encoding: chunked\0", b"Content-Length: 5"),
    "te-no-break-space": (b"Transfer-Encoding: \xa0chunked", b"Content-Length: 5"),
    "te-folded": (b"Transfer-Encoding:\r\n chunked", b"Content-Length: 5"),
    "te-space-before-colon": (b"Transfer-Encoding : chunked", b"Content-Length: 5"),
    "te-tab-before-colon": (b"Transfer-Encoding\t: chunked", b"Content-Length: 5"),
    "te-leading-space": (b" Transfer-Encoding: chunked", b"Content-Length: 5"),
    "te-after-bare-lf": (b"X: y\nTransfer-Encoding: chunked", b"Content-Length: 5"),
    "te-after-bare-cr": (b"X: y\rTransfer-Encoding: chunked", b"Content-Length: 5"),
    "te-no-colon": (b"Transfer-Encoding chunked", b"Content-Length: 5"),
    "cl-plus": (b"Content-Length: +5",),
    "cl-minus": (b"Content-Length: -5",),
    "cl-hex": (b"Content-Length: 0x5",),
    "cl-exponent": (b"Content-Length: 5e0",),
    "cl-fraction": (b"Content-Length: 5.0",),
    "cl-underscore": (b"Content-Length: 1_0",),
    "cl-list": (b"Content-Length: 5, 5",),
    "cl-inner-space": (b"Content-Length: 5 5",),
    "cl-empty": (b"Content-Length:",),
    "cl-overflow": (b"Content-Length: 18446744073709551621",),
    "cl-full-width": (b"Content-Length: \xef\xbc\x95",),
    "cl-nul": (b"Content-Length: 5\0",),
    "cl-folded": (b"Content-Length:\r\n 5",),
    "cl-space-before-colon": (b"Content-Length : 5",),
    "cl-twice-same": (b"Content-Length: 5", b"Content-Length: 5"),
    "cl-twice-different": (b"Content-Length: 5", b"Content-Length: 40"),
    "cl-short-after-long": (b"Content-Length: 40", b"Content-Length: 5"),
}

# Bodies of a chunked request.
_CHUNKS: dict[str, bytes] = {
    "size-plus": b"+3\r\nabc\r\n",
    "size-minus": b"-3\r\nabc\r\n",
    "size-hex-prefix": b"0x3\r\nabc\r\n",
    "size-underscore": b"1_0\r\n0123456789abcdef\r\n",
    "size-overflow": b"10000000000000003\r\nabc\r\n",
    "size-empty": b"\r\nabc\r\n",
    "size-not-hex": b"g\r\nabc\r\n",
    "size-leading-space": b" 3\r\nabc\r\n",
    "size-trailing-space": b"3 \r\nabc\r\n",
    "size-nul": b"3\0\r\nabc\r\n",
    "size-bare-lf": b"3\nabc\r\n",
    "size-bare-cr": b"3\rabc\r\n",
    "size-cr-cr-lf": b"3\r\r\nabc\r\n",
    "extension-bare-lf": b"3;a=b\nabc\r\n",
    "extension-bare-cr": b"3;a=b\rabc\r\n",
    "extension-nul": b"3;a=\0\r\nabc\r\n",
    "data-too-long": b"3\r\nabcdef\r\n",
    "data-too-short": b"6\r\nabc\r\n0\r\n\r\nX",
    "data-bare-lf": b"3\r\nabc\n",
    "data-no-line-end": b"3\r\nabc",
    "last-bare-lf": b"3\r\nabc\r\n0\n\n",
    "trailer-content-length": b"0\r\nContent-Length: 40\r\n\r\n",
    "trailer-transfer-encoding": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailer-space-before-colon": b"0\r\nX : y\r\n\r\n",
    "trailer-folded": b"0\r\nX: y\r\n z\r\n\r\n",
    "trailer-bare-lf": b"0\r\nX: y\nZ: z\r\n\r\n",
    "trailer-nul": b"0\r\nX: \0\r\n\r\n",
}

# Heads that are not HTTP's.
_HEADS: dict[str, bytes] = {
    "bare-lf-everywhere": b"GET /hostile HTTP/1.1\nHost: a\n\n",
    "bare-lf-after-request-line": b"GET /hostile HTTP/1.1\nHost: a\r\n\r\n",
    "bare-lf-at-end": b"GET /hostile HTTP/1.1\r\nHost: a\r\n\n",
    "bare-cr-everywhere": b"GET /hostile HTTP/1.1\rHost: a\r\r",
    "cr-cr-lf": b"GET /hostile HTTP/1.1\r\r\nHost: a\r\n\r\n",
    "bare-lf-in-fields": request(b"X: y\nZ: z"),
    "bare-cr-in-value": request(b"X: y\rz"),
    "nul-in-value": request(b"X: y\0z"),
    "nul-in-name": request(b"X\0: y"),
    "control-in-value": request(b"X: \x01"),
    "delete-in-value": request(b"X: \x7f"),
    "control-in-name": request(b"X\x01: y"),
    "non-ascii-name": request(b"X\xe9: y"),
    "separator-in-name": request(b"X(y): z"),
    "empty-name": request(b": y"),
    "no-colon": request(b"X"),
    "space-before-colon": request(b"X : y"),
    "tab-before-colon": request(b"X\t: y"),
    "host-space-before-colon": request(host=b"Host : a"),
    "folded": request(b"X: y\r\n z"),
    "folded-with-tab": request(b"X: y\r\n\tz"),
    "folded-first-line": request(host=b" Host: a"),
    "leading-space": b" GET /hostile HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower-case-method": request(line=b"get /hostile HTTP/1.1"),
    "unknown-method": request(line=b"FROB /hostile HTTP/1.1"),
    "method-with-nul": request(line=b"GET\0 /hostile HTTP/1.1"),
    "method-then-tab": request(line=b"GET\t/hostile HTTP/1.1"),
    "no-method": request(line=b"/hostile HTTP/1.1"),
    "no-target": request(line=b"GET HTTP/1.1"),
    "http-0.9": b"GET /hostile\r\n\r\n",
    "http-0.9-with-fields": b"GET /hostile\r\nHost: a\r\n\r\n",
    "http-0.9-then-request": b"GET /hostile\r\n\r\n" + SMUGGLED,
    "http-1.2": request(line=b"GET /hostile HTTP/1.2"),
    "http-2.0": request(line=b"GET /hostile HTTP/2.0"),
    "http-3.0": request(line=b"GET /hostile HTTP/3.0"),
    "http-10.1": request(line=b"GET /hostile HTTP/10.1"),
    "http-01.1": request(line=b"GET /hostile HTTP/01.1"),
    "http-lower-case": request(line=b"GET /hostile http/1.1"),
    "http-no-minor": request(line=b"GET /hostile HTTP/1"),
    "space-after-version": request(line=b"GET /hostile HTTP/1.1 "),
    "word-after-version": request(line=b"GET /hostile HTTP/1.1 x"),
    "http2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls-hello": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    "chunked-in-http-1.0": request(_CHUNKED, line=b"POST /hostile HTTP/1.0", body=_LAST),
}

_TARGETS: dict[str, bytes] = {
    "absolute-form": b"http://a/hostile",
    "absolute-form-other-host": b"http://evil.test/hostile",
    "absolute-form-https": b"https://a/hostile",
    "absolute-form-upper-case": b"HTTP://a/hostile",
    "authority-form": b"a:80",
    "asterisk-form": b"*",
    "relative": b"hostile",
    "dot-relative": b"./hostile",
    "question-mark": b"?hostile",
    "fragment": b"/hostile#x",
    "empty-fragment": b"/hostile#",
    "fragment-in-query": b"/hostile?a#b",
    "backslash": b"\\hostile",
    "space": b"/hos tile",
    "tab": b"/hos\ttile",
    "nul": b"/hos\0tile",
    "delete": b"/hos\x7ftile",
    "non-ascii": b"/hostil\xe9",
}

_HOSTS: dict[str, bytes] = {
    "missing": b"",
    "empty": b"Host:",
    "twice-same": b"Host: a\r\nHost: a",
    "twice-different": b"Host: a\r\nHost: evil.test",
    "list": b"Host: a, evil.test",
    "inner-space": b"Host: a evil.test",
    "inner-tab": b"Host: a\tb",
    "userinfo": b"Host: user@a",
    "path": b"Host: a/b",
    "query": b"Host: a?b",
    "fragment": b"Host: a#b",
    "backslash": b"Host: a\\b",
    "scheme": b"Host: http://a",
    "quoted": b'Host: "a"',
    "wildcard": b"Host: *",
    "percent": b"Host: a%2eb",
    "underscore-header": b"X_Host: a",
    "non-ascii": b"Host: \xe9",
    "full-width-dot": b"Host: a\xef\xbc\x8eb",
    "dots": b"Host: ..",
    "empty-label": b"Host: a..b",
    "leading-dash": b"Host: -a",
    "label-of-64": b"Host: " + b"a" * 64,
    "port-only": b"Host: :80",
    "port-empty": b"Host: a:",
    "port-letters": b"Host: a:http",
    "port-sign": b"Host: a:+80",
    "port-six-digits": b"Host: a:123456",
    "two-ports": b"Host: a:80:80",
    "ipv6-bare": b"Host: ::1",
    "ipv6-unclosed": b"Host: [::1",
    "ipv6-trailing": b"Host: [::1]x",
    "ipv6-nonsense": b"Host: [::1::]",
    "ipv6-zone": b"Host: [fe80::1%25eth0]",
    "ipv4-in-brackets": b"Host: [127.0.0.1]",
}

_TWICE: dict[str, tuple[bytes, bytes]] = {
    "target-url": (b"x-fal-target-url: https://queue.fal.run/a/b", b"X-Fal-Target-Url: https://queue.fal.run/a/c"),
    "authorization": (b"Authorization: Bearer a", b"authorization: Bearer b"),
    "content-type": (b"Content-Type: application/json", b"Content-Type: text/plain"),
    "idempotency-key": (b"Idempotency-Key: 1", b"Idempotency-Key: 1"),
}

_UPGRADE = (b"Connection: Upgrade", b"Upgrade: anything")
_UPGRADES: dict[str, tuple[bytes, ...]] = {
    "with-later-body": (request(*_UPGRADE, _length(SMUGGLED)), SMUGGLED),
    "with-body": (request(*_UPGRADE, _length(SMUGGLED), body=SMUGGLED),),
    "with-blank-lines": (request(*_UPGRADE, _length(b"\r\n" * 32768, SMUGGLED)), b"\r\n" * 32768, SMUGGLED),
    "with-chunks": (request(*_UPGRADE, _CHUNKED), SMUGGLED),
    "without-body": (request(*_UPGRADE, line=b"GET /hostile HTTP/1.1"), SMUGGLED),
    "not-in-connection": (request(b"Upgrade: anything"), SMUGGLED),
    "empty": (request(b"Connection: Upgrade", b"Upgrade:"), SMUGGLED),
    "twice": (request(*_UPGRADE, b"Upgrade: websocket"), SMUGGLED),
    "websocket": (
        request(
            b"Connection: keep-alive, Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            line=b"GET /hostile HTTP/1.1",
        ),
        SMUGGLED,
    ),
    "h2c": (request(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"), SMUGGLED),
    "tls": (request(b"Connection: Upgrade", b"Upgrade: TLS/1.0", line=b"OPTIONS /hostile HTTP/1.1"), SMUGGLED),
    "http-1.0": (request(*_UPGRADE, line=b"GET /hostile HTTP/1.0"), SMUGGLED),
    "connect": (request(line=b"CONNECT a:443 HTTP/1.1"), SMUGGLED),
    "connect-path": (request(line=b"CONNECT /hostile HTTP/1.1"), SMUGGLED),
    "connect-with-body": (request(_length(SMUGGLED), line=b"CONNECT /hostile HTTP/1.1"), SMUGGLED),
}

_METHODS = (b"TRACE", b"DELETE", b"PATCH", b"PROPFIND", b"LINK", b"PURGE", b"SOURCE")

_SIZES: tuple[Hostile, ...] = (
    Hostile("fields-5000", "H6 M4", 431, (request(*[b"X: y"] * 5000),)),
    Hostile("fields-101", "H6", 431, (request(*[b"X: y"] * 100),)),
    Hostile("field-200k", "H6 M4", 431, (request(b"X: " + b"y" * 200_000),)),
    Hostile("name-200k", "H6 M4", 431, (request(b"X" * 200_000 + b": y"),)),
    Hostile("head-33k", "H6", 431, (request(*[b"X: " + b"y" * 1000] * 33),)),
    Hostile("target-70k", "H6", 414, (request(line=b"GET /" + b"a" * 70_000 + b" HTTP/1.1"),)),
    Hostile("query-9k", "H6", 414, (request(line=b"GET /?" + b"a" * 9000 + b" HTTP/1.1"),)),
    Hostile("endless-target", "H6 M4", 414, (b"GET /",), b"a" * 4096),
    Hostile("endless-fields", "H6 M4", 431, (b"GET / HTTP/1.1\r\n",), b"X: y\r\n" * 200),
    Hostile("endless-name", "H6 M4", 431, (b"GET / HTTP/1.1\r\n",), b"x" * 4096),
    Hostile("endless-value", "H6 M4", 431, (b"GET / HTTP/1.1\r\nX: ",), b"x" * 4096),
    Hostile("endless-space", "H6 M4", 431, (b"GET / HTTP/1.1\r\nX:",), b" " * 4096),
    Hostile("endless-blank-lines", "H6 M5", 431, (), b"\r\n" * 2048),
    Hostile("endless-trailers", "H6 M4", 431, (request(_CHUNKED, body=b"3\r\nabc\r\n0\r\n"),), b"X: y\r\n" * 200),
    Hostile("endless-trailer", "H6 M4", 431, (request(_CHUNKED, body=b"0\r\nX: "),), b"x" * 4096),
    Hostile("endless-extension", "H6 M4", 431, (request(_CHUNKED, body=b"3;a="),), b"x" * 4096),
    Hostile("endless-extensions", "H6 M4", 431, (request(_CHUNKED),), b"1;" + b"x" * 200 + b"\r\nx\r\n"),
    Hostile("extension-9k", "H6 M4", 431, (request(_CHUNKED, body=b"3;" + b"a" * 9000 + b"\r\nabc\r\n" + _LAST),)),
    Hostile(
        "extension-after-tiny-chunks",
        "H6 M4",
        431,
        (request(_CHUNKED, body=b"1\r\na\r\n" * 2000 + b"3;" + b"a" * 9000 + b"\r\nabc\r\n" + _LAST),),
    ),
    Hostile("size-zeros", "H6 M4", 431, (request(_CHUNKED, body=b"%01000x\r\na\r\n" % 1 * 20 + _LAST),)),
    Hostile("endless-size-zeros", "H6 M4", 431, (request(_CHUNKED),), b"0" * 4096),
)

# Less than a request: the connection must not stay open for it.
_UNFINISHED: dict[str, tuple[bytes, ...]] = {
    "half-request-line": (b"POST /hos",),
    "half-head": (b"POST /hostile HTTP/1.1\r\nHost: a\r\nX: ",),
    "head-without-end": (b"POST /hostile HTTP/1.1\r\nHost: a\r\n",),
    "no-body": (request(b"Content-Length: 5"),),
    "half-body": (request(b"Content-Length: 5", body=b"ab"),),
    "body-in-two": (request(b"Content-Length: 5"), b"ab"),
    "half-chunk": (request(_CHUNKED, body=b"5\r\nab"),),
    "no-last-chunk": (request(_CHUNKED, body=b"3\r\nabc\r\n"),),
    "half-trailer": (request(_CHUNKED, body=b"3\r\nabc\r\n0\r\nX: y\r\n"),),
    "expect-without-body": (request(b"Content-Length: 5", b"Expect: 200-ok"),),
    "smuggled-in-long-body": (request(b"Content-Length: 9999", body=SMUGGLED),),
}

# Honest enough to be heard, once; what comes with it is not a request.
_HEARD_ONCE: dict[str, tuple[bytes, ...]] = {
    "te-underscore": (request(b"Transfer_Encoding: chunked", _length(_LAST, SMUGGLED), _CLOSE, body=_LAST + SMUGGLED),),
    "te-prefixed": (
        request(b"X-Transfer-Encoding: chunked", _length(SMUGGLED), _CLOSE, body=SMUGGLED),
        SMUGGLED,
    ),
    "request-in-body": (request(_length(SMUGGLED), _CLOSE, body=SMUGGLED),),
    "request-in-chunk": (request(_CHUNKED, _CLOSE, body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n" + _LAST),),
    "request-after-close": (request(_CLOSE, line=b"GET /hostile HTTP/1.1") + SMUGGLED,),
    "request-after-http-1.0": (request(line=b"GET /hostile HTTP/1.0") + SMUGGLED,),
    "kept-alive-http-1.0": (request(b"Connection: keep-alive", line=b"GET /hostile HTTP/1.0") + SMUGGLED,),
    "pipelined": (request(line=b"GET /hostile HTTP/1.1") + SMUGGLED,),
    "pipelined-thrice": (request(line=b"GET /hostile HTTP/1.1") + SMUGGLED * 3,),
    "pipelined-garbage": (request(line=b"GET /hostile HTTP/1.1") + b"\0\0\0\0",),
    "body-longer-than-declared": (request(b"Content-Length: 5", body=b"abcde" + SMUGGLED),),
    "body-of-a-get": (request(line=b"GET /hostile HTTP/1.1", body=SMUGGLED),),
    "content-length-0": (request(b"Content-Length: 0", body=SMUGGLED),),
    "after-last-chunk": (request(_CHUNKED, body=b"3\r\nabc\r\n" + _LAST + SMUGGLED),),
    "trailer-upgrade": (request(_CHUNKED, _CLOSE, body=b"0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),),
    "trailer-host": (request(_CHUNKED, _CLOSE, body=b"0\r\nHost: evil.test\r\n\r\n"),),
    "trailer-target": (request(_CHUNKED, _CLOSE, body=b"0\r\nx-fal-target-url: https://evil\r\n\r\n"),),
    "connection-upgrade-only": (request(b"Connection: upgrade, close", line=b"GET /hostile HTTP/1.1") + SMUGGLED,),
    "odd-expect": (request(b"Expect: 200-ok", b"Content-Length: 3", _CLOSE, body=b"abc"),),
    "nominated-removal": (request(b"Connection: close, authorization, x-fal-target-url", b"Content-Length: 0"),),
}


def _table() -> Iterator[Hostile]:
    for name, fields in _LENGTHS.items():
        yield Hostile(f"length-{name}", "H1", 400, (request(*fields, body=_LAST + SMUGGLED),))
    for name, chunks in _CHUNKS.items():
        yield Hostile(f"chunk-{name}", "H1", 400, (request(_CHUNKED, body=chunks + _LAST + SMUGGLED),))
    yield from _rows("H1 M3", 400, {f"head-{name}": raw for name, raw in _HEADS.items()})
    for name, target in _TARGETS.items():
        line = b"GET %b HTTP/1.1" % target
        yield Hostile(f"target-{name}", "U7 M3", 400, (request(line=line) + SMUGGLED,))
    for name, host in _HOSTS.items():
        yield Hostile(f"host-{name}", "U7 M3", 400, (request(host=host) + SMUGGLED,))
    yield Hostile("host-missing-http-1.0", "U7", 400, (request(line=b"GET /hostile HTTP/1.0", host=b"") + SMUGGLED,))
    for name, fields in _TWICE.items():
        yield Hostile(f"twice-{name}", "J15 U8", 400, (request(*fields) + SMUGGLED,))
    for name, segments in _UPGRADES.items():
        yield Hostile(f"upgrade-{name}", "M1 H2", 400, segments)
    for method in _METHODS:
        line = b"%b /hostile HTTP/1.1" % method
        yield Hostile(f"method-{method.decode()}", "U6 M3", 405, (request(line=line) + SMUGGLED,))
    yield from _SIZES
    for name, segments in _UNFINISHED.items():
        yield Hostile(f"unfinished-{name}", "M5 H5 L1", 408, segments, slow=True)
    for name, segments in _HEARD_ONCE.items():
        yield Hostile(f"once-{name}", "H1 H3 H4", 200, segments, heard=1)


HOSTILE = tuple(_table())
