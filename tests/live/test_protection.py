"""Fields that protect every answer: each route, method and outcome, and refusals of the listener."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.gateway_process import JSON, Gateway, Rig, ask, bearer, message
from support.in_process_gateway import APP, ENDPOINT, INPUT, ORIGIN, QUEUED, token
from support.raw_http import Reply, replies
from support.scripted_upstream import Peer

from proxy.http.cors import Cors
from proxy.http.response import PROTECTIVE

PAGE = b"Origin: https://page.example.com"
SUBMIT = f"/api/fal/queue/{ENDPOINT}"
BODY = json.dumps(INPUT).encode()
HSTS = b"max-age=31536000"
# Fetch standard, CORS-safelisted response-header names, and what is the connection's own or no page's business.
SAFE = {b"cache-control", b"content-length", b"content-type", b"content-language", b"expires", b"last-modified"}
NO_PAGES = {b"date", b"connection", b"allow", b"strict-transport-security", *(name for name, _ in PROTECTIVE)}
ROUTES = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/nowhere",
    "/api/fal",
    "/api/fal/",
    "/api/fal/usage",
    "/api/fal/openapi.json",
    "/api/fal/proxy",
    "/api/fal/queue/",
    "/api/fal/queue/a",
    "/api/fal/queue/not/listed",
    SUBMIT,
    f"{SUBMIT}?fal_webhook=https://evil.test",
    f"/api/fal/queue/{APP}/requests/JOB",
    f"/api/fal/queue/{APP}/requests/JOB/status",
    f"/api/fal/queue/{APP}/requests/JOB/cancel",
    f"/api/fal/queue/{APP}/requests/forged/status",
    f"/api/fal/run/{ENDPOINT}",
    "/api/fal/storage/upload/initiate",
    "/%2e%2e/%00",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH", "TRACE"]
CALLERS = {
    "nobody": (),
    "alice": (bearer(),),
    "bad": (b"Authorization: Bearer a.b.c",),
    "cookie": (f"Cookie: __Host-session={token()}".encode(), b"Sec-Fetch-Site: same-origin"),
    "crossed": (f"Cookie: __Host-session={token()}".encode(), b"Sec-Fetch-Site: cross-site"),
}
# What ends before there is a request, or with the connection.
EARLY: dict[str, tuple[bytes, int]] = {
    "not-http": (b"nonsense\r\n\r\n", 400),
    "http-2": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
    "upgrade": (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 400),
    "no-host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "large-head": (message("GET", b"/", b"X: " + b"x" * 40_000), 431),
    "large-target": (message("GET", b"/" + b"x" * 9_000), 414),
    "large-cookie": (message("GET", b"/", b"Cookie: " + b"x" * 100_000), 431),
    "slow": (b"GET / HTTP/1.1\r\nHost: a\r\n", 408),
}


async def queued(peer: Peer) -> None:
    body = json.dumps(QUEUED).encode()
    while True:
        request = await peer.request()
        status = b"422 Unprocessable" if b"/cancel " in request else b"200 OK"
        fields = b"content-type: application/json\r\nx-fal-error-type: x\r\nset-cookie: a=1\r\nserver: fal\r\n"
        peer.send(b"HTTP/1.1 " + status + b"\r\n" + fields + b"content-length: %d\r\n\r\n" % len(body) + body)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Rig(tmp_path_factory.mktemp("protection")) as rig:
        server = {
            "hsts_seconds": 31536000,
            "cors_origins": [PAGE.decode().partition(" ")[2]],
            "max_connections_per_address": 1000,
        }
        yield rig.gateway(rig.upstream(queued).url, origin=ORIGIN, server=server, cookie={"name": "__Host-session"})


def protected(reply: Reply) -> bool:
    """Returns each protective field, and HSTS; what is compressed varies by the coding, too."""
    fields = {**reply.headers, b"vary": reply.headers.get(b"vary", b"").removesuffix(b", Accept-Encoding")}
    wrong = {name: fields.get(name) for name, value in PROTECTIVE if fields.get(name) != value}
    assert wrong == {}, reply
    assert reply.headers.get(b"strict-transport-security") == HSTS, reply
    return not {b"server", b"set-cookie", b"location", b"x-powered-by"} & reply.headers.keys()


def answered(gateway: Gateway, method: str, route: str, *fields: bytes, body: bytes | None) -> Reply:
    target = route.replace("JOB", gateway.job()).encode()
    raw = ask(gateway.address, message(method, target, PAGE, *fields, body=body))
    (reply,) = replies(raw.replace(b"content-length", b"x-length") if method == "HEAD" else raw)
    return reply


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("method", METHODS)
def test_every_route_method_and_outcome(gateway: Gateway, method: str, caller: str) -> None:
    """Every answer has the protective fields, none of fal's, and a page can read those that inform it."""
    exposed = set(
        dict(Cors(["https://a.test"]).fields([(b"origin", b"https://a.test")]))[b"access-control-expose-headers"].split(
            b", "
        )
    )
    seen = set()
    for route in ROUTES:
        for body, fields in ((None, ()), (BODY, (JSON,)), (b"{", (JSON,)), (BODY, ()), (b"x" * 20_000, (JSON,))):
            if body is not None and method in ("GET", "HEAD", "OPTIONS", "TRACE"):
                continue
            reply = answered(gateway, method, route, *fields, *CALLERS[caller], body=body)
            assert protected(reply), (route, reply)
            names = {name for name in reply.headers if not name.startswith(b"access-control-") and name != b"x-length"}
            assert names - SAFE - NO_PAGES <= exposed, (route, reply)
            assert reply.headers[b"access-control-allow-origin"] == PAGE.partition(b" ")[2]
            seen.add(reply.status)

    # A caller without a session learns nothing about the methods of the gateway's routes.
    expected = {"GET": {404}, "POST": {405}}.get(method, {405})
    if method in ("HEAD", "OPTIONS") and caller != "alice":
        expected = {401, 403, 405}
    assert seen & expected


def test_outcomes_were_many(gateway: Gateway) -> None:
    """The walk above meets what the table of statuses promises, a success of each kind among it."""
    alice = CALLERS["alice"]
    statuses = {
        answered(gateway, "POST", SUBMIT, JSON, *alice, body=BODY).status,
        answered(gateway, "POST", SUBMIT, JSON, *alice, body=b"{").status,
        answered(gateway, "POST", SUBMIT, JSON, *alice, body=b"{}").status,
        answered(gateway, "POST", SUBMIT, *alice, b"Content-Type: text/plain", body=BODY).status,
        answered(gateway, "POST", "/api/fal/queue/not/listed", JSON, *alice, body=BODY).status,
        answered(gateway, "GET", f"/api/fal/queue/{APP}/requests/JOB/status", *alice, body=None).status,
        answered(gateway, "GET", f"/api/fal/queue/{APP}/requests/x/status", *alice, body=None).status,
        answered(gateway, "GET", "/api/fal/proxy", *alice, body=None).status,
        answered(gateway, "GET", "/api/fal/proxy", *alice, b"x-fal-target-url: https://a.test/", body=None).status,
        answered(gateway, "GET", SUBMIT, *alice, body=None).status,
        answered(gateway, "GET", "/api/fal/usage", body=None).status,
    }

    assert statuses == {200, 400, 401, 403, 404, 405, 412, 415, 422}


@pytest.mark.parametrize("name", EARLY)
def test_what_the_listener_refuses(gateway: Gateway, name: str) -> None:
    """Refusals from before the application, too, cannot be cached, framed or taken for something else."""
    raw, status = EARLY[name]
    (reply,) = replies(ask(gateway.address, raw))

    assert reply.status == status
    assert protected(reply)
    assert reply.headers[b"content-type"] == b"application/json"
    assert reply.headers[b"connection"] == b"close"


def test_metrics(gateway: Gateway) -> None:
    """The admin page as well, but for HSTS: its port speaks no TLS."""
    (reply,) = replies(ask(gateway.service.admin_address, message("GET", b"/metrics")))

    assert reply.status == 200
    assert {name: reply.headers[name] for name, _ in PROTECTIVE} == dict(PROTECTIVE)


def test_hsts_is_the_operators_to_ask_for(rig: Rig) -> None:
    """Without `hsts_seconds` there is none."""
    gateway = rig.gateway(rig.upstream(Peer.gone).url, origin=ORIGIN)
    found = [replies(ask(gateway.address, raw))[0] for raw in (message("GET", b"/healthz"), EARLY["not-http"][0])]

    assert [reply.status for reply in found] == [200, 400]
    assert not [reply for reply in found if b"strict-transport-security" in reply.headers]
