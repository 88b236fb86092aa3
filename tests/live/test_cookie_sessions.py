"""Cookie sessions, CSRF and CORS over real sockets.

Two gateways are set up alike. The good rows go to one in front of an upstream that takes every job. The bad ones go to
one whose upstream counts connections: fal never hears of them, and no allowance is touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from support.gateway_process import JSON, Gateway, Rig, ask, bearer, message
from support.in_process_gateway import APP, ENDPOINT, INPUT, ORIGIN, QUEUED, token
from support.raw_http import Reply, replies
from support.scripted_upstream import Peer, Recording, ScriptedServer

NAME = "__Host-session"
PAGE = b"https://page.example.com"  # may call across origins, with tokens
OURS, ALSO_OURS = ORIGIN.encode(), b"https://www.example.com"
SUBMIT = f"/api/fal/queue/{ENDPOINT}".encode()
JOB = b"/api/fal/queue/" + APP.encode()
STATUS, RESULT, CANCEL = b"status", b"result", b"cancel"  # of alice's own job
BODY = json.dumps(INPUT).encode()
LIMIT = 1000  # what each caller may spend
ADDRESSES = (f"127.2.{n // 250}.{n % 250 + 1}" for n in count())

SESSION = f"Cookie: {NAME}={token()}".encode()
BOB = f"Cookie: {NAME}={token('bob')}".encode()
EXPIRED = f"Cookie: {NAME}={token(lifetime=-600)}".encode()
SAME = b"Sec-Fetch-Site: same-origin"
CROSS = b"Sec-Fetch-Site: cross-site"
FORM = b"Content-Type: application/x-www-form-urlencoded"
TEXT = b"Content-Type: text/plain"
HEADER_MODE = b"x-fal-target-url: https://queue.fal.run/" + ENDPOINT.encode()


def origin(value: bytes) -> bytes:
    return b"Origin: " + value


@dataclass(frozen=True)
class Case:
    """A request, and the status and error_type of its answer."""

    fields: tuple[bytes, ...]
    status: int
    error: str | None = None
    method: str = "POST"
    target: bytes = SUBMIT
    body: bytes | None = BODY


def write(*fields: bytes, status: int = 200, error: str | None = None) -> Case:
    """Returns a submit, as JSON."""
    return Case((JSON, *fields), status, error)


def read(*fields: bytes, status: int = 200, error: str | None = None, target: bytes = STATUS) -> Case:
    return Case(fields, status, error, "GET", target, None)


def crossed(*fields: bytes) -> Case:
    """Returns a submit that another site's page made the browser send."""
    return write(SESSION, *fields, status=403, error="cross_site")


def anonymous(*fields: bytes) -> Case:
    return write(*fields, status=401, error="unauthenticated")


CASES: dict[str, Case] = {
    # A page of ours.
    "submit": write(SESSION, SAME, origin(OURS)),
    "submit-without-origin": write(SESSION, SAME),
    "submit-from-an-old-browser": write(SESSION, origin(OURS)),
    "submit-at-our-other-name": write(SESSION, SAME, origin(ALSO_OURS)),
    "submit-at-our-other-name-old": write(SESSION, origin(ALSO_OURS)),
    "submit-among-other-cookies": write(b"Cookie: a=1; " + SESSION[8:] + b'; b="x, y"; c', SAME),
    "submit-cookie-fields": write(b"Cookie: a=1", SESSION, b"Cookie: b=2", SAME),
    "submit-no-blanks": write(b"Cookie: a=1;" + SESSION[8:] + b";b=2", SAME),
    "submit-field-names-in-any-case": write(
        SESSION.replace(b"Cookie", b"cOOKIE"), SAME.upper().replace(b"SAME-ORIGIN", b"same-origin")
    ),
    "submit-blanks-before-values": write(SESSION.replace(b": ", b": \t ", 1), b"Sec-Fetch-Site: \t same-origin"),
    "submit-charset": Case((b"Content-Type: application/json; charset=utf-8", SESSION, SAME), 200),
    "submit-header-mode": Case((JSON, HEADER_MODE, SESSION, SAME), 200, target=b"/api/fal/proxy"),
    "status": read(SESSION, SAME),
    "status-old": read(SESSION),
    "status-with-origin": read(SESSION, SAME, origin(OURS)),
    "result": read(SESSION, SAME, target=RESULT),
    "cancel-empty": Case((JSON, SESSION, SAME), 200, None, "PUT", CANCEL, b""),
    "cancel-no-length": Case((JSON, SESSION, SAME), 200, None, "PUT", CANCEL, None),
    "cancel-braces": Case((JSON, SESSION, SAME), 200, None, "PUT", CANCEL, b"{}"),
    "usage": read(SESSION, SAME, target=b"/api/fal/usage"),
    "usage-head": Case((SESSION, SAME), 200, None, "HEAD", b"/api/fal/usage", None),
    "openapi": read(SESSION, SAME, target=b"/api/fal/openapi.json"),
    # Pages elsewhere.
    "cross-site": crossed(CROSS, origin(b"https://evil.test")),
    "cross-site-no-origin": crossed(CROSS),
    "cross-site-our-origin": crossed(CROSS, origin(OURS)),
    "same-site": crossed(b"Sec-Fetch-Site: same-site", origin(b"https://blog.example.com")),
    "same-site-our-other-name": crossed(b"Sec-Fetch-Site: same-site", origin(ALSO_OURS)),
    "typed-in": crossed(b"Sec-Fetch-Site: none"),
    "site-empty": crossed(b"Sec-Fetch-Site:"),
    "site-in-capitals": crossed(b"Sec-Fetch-Site: SAME-ORIGIN"),
    "site-list": crossed(b"Sec-Fetch-Site: same-origin, same-origin"),
    "site-list-that-differs": crossed(b"Sec-Fetch-Site: cross-site, same-origin"),
    "site-quoted": crossed(b'Sec-Fetch-Site: "same-origin"'),
    "site-with-parameter": crossed(b"Sec-Fetch-Site: same-origin; x=1"),
    "site-blanks-behind": crossed(SAME + b" \t"),
    "site-unknown": crossed(b"Sec-Fetch-Site: same-everything"),
    "site-number": crossed(b"Sec-Fetch-Site: ?1"),
    "site-not-ascii": crossed(b"Sec-Fetch-Site: same-origin\xff"),
    "other-metadata-says-nothing": crossed(
        b"Sec-Fetch-Mode: same-origin", b"Sec-Fetch-Dest: empty", b"Sec-Fetch-User: ?1"
    ),
    "contradiction": crossed(SAME, origin(b"https://evil.test")),
    "contradiction-null": crossed(SAME, origin(b"null")),
    "contradiction-empty": crossed(SAME, origin(b"")),
    "neither": crossed(),
    "neither-but-referer": crossed(b"Referer: " + OURS + b"/"),
    "neither-but-forwarded": crossed(b"X-Forwarded-Host: gate.example.com", b"X-Forwarded-Proto: https"),
    "neither-but-requested-with": crossed(b"X-Requested-With: XMLHttpRequest"),
    "origin-null": crossed(origin(b"null")),
    "origin-empty": crossed(origin(b"")),
    "origin-slash": crossed(origin(OURS + b"/")),
    "origin-path": crossed(origin(OURS + b"/x")),
    "origin-default-port": crossed(origin(OURS + b":443")),
    "origin-port": crossed(origin(OURS + b":8443")),
    "origin-http": crossed(origin(OURS.replace(b"https", b"http"))),
    "origin-capitals": crossed(origin(OURS.upper())),
    "origin-dot": crossed(origin(OURS + b".")),
    "origin-suffix": crossed(origin(OURS + b".evil.test")),
    "origin-glued": crossed(origin(b"https://evilgate.example.com")),
    "origin-subdomain": crossed(origin(b"https://a.gate.example.com")),
    "origin-parent": crossed(origin(b"https://example.com")),
    "origin-userinfo": crossed(origin(b"https://gate.example.com@evil.test")),
    "origin-list": crossed(origin(OURS + b" https://evil.test")),
    "origin-comma": crossed(origin(OURS + b", " + OURS)),
    "origin-star": crossed(origin(b"*")),
    "origin-of-the-host-field": crossed(origin(b"http://gate.test")),
    "origin-with-a-token-only": crossed(origin(PAGE)),
    "origin-with-a-token-only-and-site": crossed(b"Sec-Fetch-Site: cross-site", origin(PAGE)),
    "read-cross-site": read(SESSION, CROSS, status=403, error="cross_site"),
    "read-image": read(
        SESSION, CROSS, b"Sec-Fetch-Mode: no-cors", b"Sec-Fetch-Dest: image", status=403, error="cross_site"
    ),
    "read-result-script": read(
        SESSION, CROSS, b"Sec-Fetch-Dest: script", status=403, error="cross_site", target=RESULT
    ),
    "read-navigation": read(SESSION, CROSS, b"Sec-Fetch-Mode: navigate", status=403, error="cross_site"),
    "read-typed-in": read(SESSION, b"Sec-Fetch-Site: none", status=403, error="cross_site"),
    "read-same-site": read(SESSION, b"Sec-Fetch-Site: same-site", status=403, error="cross_site"),
    "read-other-origin": read(SESSION, origin(b"https://evil.test"), status=403, error="cross_site"),
    "read-null-origin": read(SESSION, origin(b"null"), status=403, error="cross_site"),
    "read-usage": read(SESSION, CROSS, status=403, error="cross_site", target=b"/api/fal/usage"),
    "read-openapi": read(SESSION, CROSS, status=403, error="cross_site", target=b"/api/fal/openapi.json"),
    "cancel-cross-site": Case((JSON, SESSION, CROSS), 403, "cross_site", "PUT", CANCEL, b"{}"),
    "cancel-neither": Case((JSON, SESSION), 403, "cross_site", "PUT", CANCEL, b"{}"),
    "header-mode-cross-site": Case((JSON, HEADER_MODE, SESSION, CROSS), 403, "cross_site", target=b"/api/fal/proxy"),
    # What forms can send.
    "form": Case((FORM, SESSION, SAME), 415, "unsupported_media_type", body=b"prompt=a"),
    "form-cross-site": Case((FORM, SESSION, CROSS), 403, "cross_site", body=b"prompt=a"),
    "multipart": Case((b"Content-Type: multipart/form-data; boundary=a", SESSION, SAME), 415),
    "text": Case((TEXT, SESSION, SAME), 415, "unsupported_media_type"),
    "text-old": Case((TEXT, SESSION, origin(OURS)), 415, "unsupported_media_type"),
    "text-that-names-json": Case((b"Content-Type: text/plain; x=application/json", SESSION, SAME), 415),
    "json-and-text": Case((b"Content-Type: application/json, text/plain", SESSION, SAME), 415),
    "no-content-type": Case((SESSION, SAME), 415, "unsupported_media_type"),
    "content-type-empty": Case((b"Content-Type:", SESSION, SAME), 415, "unsupported_media_type"),
    "other-charset": Case((b"Content-Type: application/json; charset=utf-7", SESSION, SAME), 415),
    "cancel-without-type": Case((SESSION, SAME), 415, "unsupported_media_type", "PUT", CANCEL, None),
    "cancel-as-text": Case((TEXT, SESSION, SAME), 415, "unsupported_media_type", "PUT", CANCEL, b""),
    # A header decides alone.
    "good-header-cross-site": write(bearer(), SESSION, CROSS, origin(b"https://evil.test")),
    "good-header-bad-cookie": write(bearer(), f"Cookie: {NAME}=bad; {NAME}=bad".encode()),
    "good-header-of-another-page": write(bearer(), BOB, CROSS, origin(PAGE)),
    "header-empty": anonymous(b"Authorization:", SESSION, SAME),
    "header-no-token": anonymous(b"Authorization: Bearer", SESSION, SAME),
    "header-empty-token": anonymous(b"Authorization: Bearer ", SESSION, SAME),
    "header-basic": anonymous(b"Authorization: Basic YTpi", SESSION, SAME),
    "header-garbage": anonymous(b"Authorization: \xff\xfe", SESSION, SAME),
    "header-bad-token": anonymous(b"Authorization: Bearer a.b.c", SESSION, SAME),
    "header-expired": anonymous(f"Authorization: Bearer {token(lifetime=-600)}".encode(), SESSION, SAME),
    "header-fal-key": anonymous(b"Authorization: Key a1b2:c3d4", SESSION, SAME),
    "header-names-the-cookie": anonymous(b"Authorization: Cookie " + SESSION[8:], SESSION, SAME),
    "header-twice": write(bearer(), bearer(), SESSION, SAME, status=400, error="malformed_request"),
    "header-twice-one-empty": write(bearer(), b"Authorization:", SESSION, SAME, status=400, error="malformed_request"),
    # Which cookie.
    "no-cookie": anonymous(SAME),
    "other-cookies": anonymous(b"Cookie: a=1; b=2", SAME),
    "two-alike": anonymous(SESSION + b"; " + SESSION[8:], SAME),
    "two-that-differ": anonymous(SESSION + b"; " + BOB[8:], SAME),
    "two-fields": anonymous(SESSION, BOB, SAME),
    "two-one-empty": anonymous(SESSION + f"; {NAME}=".encode(), SAME),
    "two-one-blank": anonymous(SESSION + f"; {NAME} =x".encode(), SAME),
    "two-one-bare": anonymous(f"Cookie: {NAME}; ".encode() + SESSION[8:], SAME),
    "two-cross-site": write(SESSION, SESSION, CROSS, status=403, error="cross_site"),
    "quoted": anonymous(f'Cookie: {NAME}="{token()}"'.encode(), SAME),
    "escaped": anonymous(SESSION.replace(b".", b"%2e"), SAME),
    "empty": anonymous(f"Cookie: {NAME}=".encode(), SAME),
    "bare": anonymous(f"Cookie: {NAME}".encode(), SAME),
    "bearer-inside": anonymous(f"Cookie: {NAME}=Bearer {token()}".encode(), SAME),
    "blank-before-token": anonymous(f"Cookie: {NAME}= {token()}".encode(), SAME),
    "fal-key": anonymous(f"Cookie: {NAME}=a1b2:c3d4".encode(), SAME),
    "expired": anonymous(EXPIRED, SAME),
    "bad-signature": anonymous(SESSION[:-4] + b"AAAA", SAME),
    "other-case": anonymous(SESSION.replace(b"__Host-", b"__HOST-"), SAME),
    "longer-name": anonymous(SESSION.replace(b"session=", b"session2="), SAME),
    "without-prefix": anonymous(SESSION.replace(b"__Host-", b""), SAME),
    "other-prefix": anonymous(SESSION.replace(b"__Host-", b"__Secure-"), SAME),
    "in-another-value": anonymous(SESSION.replace(b"Cookie: ", b"Cookie: a="), SAME),
    "comma": anonymous(SESSION.replace(b"Cookie: ", b"Cookie: a=1, "), SAME),
    "named-otherwise": anonymous(SESSION.replace(b"Cookie", b"Cookie2"), SAME),
    "set-cookie": anonymous(SESSION.replace(b"Cookie", b"Set-Cookie"), SAME),
    "in-the-query": Case((JSON, SAME), 401, target=SUBMIT + b"?" + SESSION[8:]),
    "20-kB": write(SESSION + b"; a=" + b"x" * 20_000, SAME, status=431, error="head_too_large"),
    "100-kB": write(SESSION + b"; a=" + b"x" * 100_000, SAME, status=431, error="head_too_large"),
    "100-kB-token": write(f"Cookie: {NAME}=".encode() + b"x" * 100_000, SAME, status=431, error="head_too_large"),
    "30-fields-of-1-kB": write(*[b"Cookie: a=" + b"x" * 1000] * 30, SESSION, SAME, status=431, error="head_too_large"),
    # Fields that decide, given twice.
    "site-twice": write(SESSION, SAME, SAME, status=400, error="malformed_request"),
    "site-twice-that-differ": write(SESSION, CROSS, SAME, status=400, error="malformed_request"),
    "origin-twice": write(SESSION, origin(OURS), origin(OURS), status=400, error="malformed_request"),
    "origin-twice-that-differ": write(SESSION, SAME, origin(OURS), origin(b"https://evil.test"), status=400),
    "content-type-twice": write(SESSION, SAME, TEXT, status=400, error="malformed_request"),
    # Other methods.
    "get-as-post": read(SESSION, b"X-HTTP-Method-Override: POST", status=405, target=SUBMIT),
    "post-as-get": write(SESSION, b"X-HTTP-Method-Override: GET", status=403, error="cross_site"),
    "post-as-get-by-query": Case((JSON, SESSION), 403, target=SUBMIT + b"?_method=GET"),
    "head": Case((SESSION, SAME), 405, None, "HEAD", SUBMIT, None),
    "head-status": Case((SESSION, SAME), 405, None, "HEAD", STATUS, None),
    "options": Case((SESSION, SAME, JSON), 405, "method_not_allowed", "OPTIONS", SUBMIT, None),
    "delete": Case((SESSION, SAME), 405, "method_not_allowed", "DELETE", STATUS, None),
    "lower-case-get": Case((SESSION, SAME), 400, "malformed_request", "get", STATUS, None),
    # A job of another user stays that user's.
    "bobs-cookie": read(BOB, SAME, status=404, error="job_not_found"),
}


@dataclass
class Gates:
    """Two gateways alike: what passes goes to *good*, what does not to *bad*."""

    good: Gateway
    recording: Recording
    bad: Gateway
    upstream: ScriptedServer

    def answer(self, case: Case) -> Reply:
        gateway = self.good if case.status < 300 else self.bad
        target = case.target
        if target in (STATUS, RESULT, CANCEL):
            tail = {STATUS: "/status", RESULT: "", CANCEL: "/cancel"}[target]
            target = f"/api/fal/queue/{APP}/requests/{gateway.job()}{tail}".encode()
        raw = ask(gateway.address, message(case.method, target, *case.fields, body=case.body), source=next(ADDRESSES))
        (reply,) = replies(raw) if case.method != "HEAD" else replies(raw.replace(b"content-length", b"x-length"))
        return reply

    def untouched(self) -> bool:
        """Returns True where *bad* left all allowances and sent nothing to fal."""
        return self.upstream.accepted == 0 and [self.left("alice"), self.left("bob")] == [LIMIT, LIMIT]

    def left(self, subject: str) -> float:
        with self.bad.client(subject) as caller:
            answer = caller.get("usage")
            while answer.status_code == 503:  # a busy machine's ledger may be late, which says nothing
                answer = caller.get("usage")
            left: float = answer.json()["budgets"][0]["left"]
        return left


SECTIONS: dict[str, Any] = {
    "server": {"public_origin": ORIGIN, "cors_origins": [PAGE.decode()], "max_connections_per_address": 1000},
    "cookie": {"name": NAME, "origins": [ALSO_OURS.decode()]},
    "endpoints": [{"id": ENDPOINT, "price": "1"}],
    "budgets": [{"name": "daily", "per": "user", "window": "day", "limit": LIMIT}],
}


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gates]:
    with Rig(tmp_path_factory.mktemp("cookies")) as rig:
        recording = Recording(json.dumps(QUEUED).encode())
        good, upstream = rig.upstream(recording), rig.upstream(Peer.gone)
        yield Gates(rig.gateway(good.url, **SECTIONS), recording, rig.gateway(upstream.url, **SECTIONS), upstream)


@pytest.mark.parametrize("name", CASES)
def test_cookie_cases(gates: Gates, name: str) -> None:
    """A page of the gateway's origin passes with its cookie.

    Any other request with a cookie gets a reason, and does nothing.
    """
    case = CASES[name]
    gates.recording.requests.clear()
    reply = gates.answer(case)

    assert reply.status == case.status, reply
    if case.error is not None:
        assert json.loads(reply.body)["error_type"] == case.error
    assert b"set-cookie" not in reply.headers
    assert b"access-control-allow-credentials" not in reply.headers
    assert not [sent for sent in gates.recording.requests if b"cookie" in sent.lower() or token().encode() in sent]
    if case.status >= 300:
        assert gates.untouched()


# --- CORS: other pages bring tokens -----------------------------------------------------------------------------------

ASK = b"Access-Control-Request-Method: POST"
ASK_HEADERS = b"Access-Control-Request-Headers: authorization, content-type, x-fal-target-url, x-fal-queue-priority"


def preflight(*fields: bytes, status: int = 403, error: str = "origin_not_allowed") -> Case:
    return Case(fields, status, None if status == 200 else error, "OPTIONS", SUBMIT, None)


PREFLIGHTS: dict[str, Case] = {
    "post": preflight(ASK, origin(PAGE), status=200),
    "with-fields": preflight(ASK, ASK_HEADERS, origin(PAGE), status=200),
    "put": preflight(ASK.replace(b"POST", b"PUT"), origin(PAGE), status=200),
    "get": preflight(ASK.replace(b"POST", b"GET"), origin(PAGE), status=200),
    "with-a-cookie": preflight(ASK, origin(PAGE), SESSION, CROSS, status=200),
    "private-network": preflight(ASK, origin(PAGE), b"Access-Control-Request-Private-Network: true", status=200),
    "ours-needs-none": preflight(ASK, origin(OURS)),
    "cookie-origin-needs-none": preflight(ASK, origin(ALSO_OURS), SESSION, SAME),
    "evil": preflight(ASK, origin(b"https://evil.test")),
    "evil-with-a-cookie": preflight(ASK, origin(b"https://evil.test"), SESSION),
    "null": preflight(ASK, origin(b"null")),
    "empty": preflight(ASK, origin(b"")),
    "none": preflight(ASK),
    "star": preflight(ASK, origin(b"*")),
    "http": preflight(ASK, origin(PAGE.replace(b"https", b"http"))),
    "port": preflight(ASK, origin(PAGE + b":8443")),
    "default-port": preflight(ASK, origin(PAGE + b":443")),
    "slash": preflight(ASK, origin(PAGE + b"/")),
    "capitals": preflight(ASK, origin(PAGE.upper())),
    "suffix": preflight(ASK, origin(PAGE + b".evil.test")),
    "subdomain": preflight(ASK, origin(b"https://a.page.example.com")),
    "list": preflight(ASK, origin(PAGE + b", https://evil.test")),
    "two": preflight(ASK, origin(PAGE), origin(PAGE), status=400, error="malformed_request"),
    "no-preflight": preflight(origin(PAGE), status=401, error="unauthenticated"),
}


@pytest.mark.parametrize("name", PREFLIGHTS)
def test_preflights(gates: Gates, name: str) -> None:
    """An exact origin of the list, without a session, for ten minutes.

    Never with cookies or for private networks.
    """
    case = PREFLIGHTS[name]
    reply = gates.answer(case)
    leave = {field.decode(): value for field, value in reply.headers.items() if field.startswith(b"access-control")}

    assert reply.status == case.status
    if case.error is not None:
        assert json.loads(reply.body)["error_type"] == case.error
    if case.status == 200:
        assert leave.pop("access-control-allow-origin") == PAGE
        assert leave.pop("access-control-allow-methods") == b"GET, POST, PUT, DELETE"
        assert leave.pop("access-control-max-age") == b"600"
        asked = ASK_HEADERS.partition(b": ")[2].split(b", ")
        assert set(asked) <= set(leave.pop("access-control-allow-headers").split(b", "))
        del leave["access-control-expose-headers"]
    elif case.status != 403:  # a listed page may read a refusal
        leave.pop("access-control-allow-origin", None)
        leave.pop("access-control-expose-headers", None)
    assert leave == {}
    assert gates.untouched()


@pytest.mark.parametrize(
    ("case", "readable"),
    [
        (write(bearer(), CROSS, origin(PAGE)), True),
        (write(bearer(), CROSS, origin(PAGE), BOB), True),
        (write(SESSION, CROSS, origin(PAGE), status=403, error="cross_site"), True),
        (read(SESSION, b"Sec-Fetch-Site: same-site", origin(PAGE), status=403, error="cross_site"), True),
        (write(bearer(), CROSS, origin(b"https://evil.test")), False),
        (write(bearer(), CROSS, origin(b"null")), False),
        (write(SESSION, CROSS, origin(b"https://evil.test"), status=403, error="cross_site"), False),
        (write(SESSION, SAME, origin(OURS)), False),
    ],
    ids=[
        "token",
        "token-beside-a-cookie",
        "cookie",
        "cookie-same-site",
        "token-of-another-page",
        "token-of-null",
        "cookie-of-another-page",
        "ours",
    ],
)
def test_other_origins_bring_tokens(gates: Gates, case: Case, readable: bool) -> None:
    """A token works from anywhere, and its answer is for listed origins to read.

    A cookie works for no other origin.
    """
    reply = gates.answer(case)

    assert reply.status == case.status
    assert (reply.headers.get(b"access-control-allow-origin") == PAGE) is readable
    assert (b"access-control-allow-origin" in reply.headers) is readable
    assert b"access-control-allow-credentials" not in reply.headers
    assert reply.headers[b"vary"] == b"Origin, Sec-Fetch-Site, Cookie"


def test_a_loopback_name_takes_a_flag(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Over http a name without prefix can be allowed, and works by the same rules."""
    with Rig(tmp_path_factory.mktemp("loopback")) as rig:
        gateway = rig.gateway(
            rig.upstream(Peer.gone).url,
            origin="http://127.0.0.1:8080",
            cookie={"name": "session", "allow_insecure_name": True},
        )
        session = f"Cookie: session={token()}".encode()
        usage = b"/api/fal/usage"
        (ours,) = replies(ask(gateway.address, message("GET", usage, session, origin(b"http://127.0.0.1:8080"))))
        (other,) = replies(ask(gateway.address, message("GET", usage, session, origin(b"http://127.0.0.1:8081"))))

    assert (ours.status, other.status) == (200, 403)


def test_another_page_cannot_lock_its_visitors_out(gates: Gates) -> None:
    """However many requests it makes a browser send, a fresh session is still looked at."""
    source = next(ADDRESSES)
    status = f"/api/fal/queue/{APP}/requests/{gates.bad.job()}/status".encode()
    for fields in [(CROSS,), (SESSION, CROSS), (f"Cookie: {NAME}=bad; {NAME}=bad".encode(), CROSS)] * 15:
        ask(gates.bad.address, message("GET", status, *fields), source=source)
    bad = message("GET", status, b"Authorization: Bearer a.b.c")
    fresh = message("GET", status, f"Authorization: Bearer {token('carol', lifetime=601)}".encode())
    (before,) = replies(ask(gates.bad.address, fresh, source=source))
    for _ in range(31):
        (refused,) = replies(ask(gates.bad.address, bad, source=source))

    assert (before.status, refused.status) == (404, 429)


def test_without_a_configured_cookie_none_counts(rig: Rig) -> None:
    """By default the cookie is a field that is ignored."""
    gateway = rig.gateway(rig.upstream(Peer.gone).url)
    (reply,) = replies(ask(gateway.address, message("GET", b"/api/fal/usage", SESSION, SAME)))

    assert reply.status == 401
