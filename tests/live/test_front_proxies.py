"""Front proxies of `deploy/` as real programs: a page, its backend and the gateway on one origin."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import statistics
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest
import trustme
from support import budgets
from support.budgets import Caller as Submitter
from support.budgets import adjacent_ports, money
from support.front_proxies import Address, free_port, nginx_with
from support.gateway_process import JSON, PATIENCE, QUICK, Gateway, Rig, ask, bearer, javascript, message, until
from support.in_process_gateway import ENDPOINT, INPUT, token
from support.raw_http import replies
from support.scripted_upstream import Peer, Recording
from support.shipped_fronts import DEPLOY, FRONTS, PAGE, limited_site, places
from support.streams import (
    ALL_ACTIONS,
    LAST_CHUNK,
    LATEST,
    WITHIN,
    Caller,
    Feed,
    head,
    run_request,
    status_event,
    stream_request,
)

from proxy.config.sections.fal import Fal

LOOPBACK = {"trusted_proxies": ["127.0.0.1/32"]}
SUBMIT = f"/api/fal/queue/{ENDPOINT}".encode()
# Those that serve the page themselves; the others leave it to the app.
WITH_PAGES = {"nginx", "caddy"}
USUAL = 0.2  # seconds from the sending of an event to its arrival, for most of them on a busy machine


@dataclass(frozen=True)
class Proxied:
    """One front before one gateway and one app, which answers every request with its own request line."""

    name: str
    rig: Rig
    home: Path

    @contextmanager
    def before(self, gateway: Gateway, *, port: int = 0, certificate: Path | None = None) -> Iterator[Address]:
        app = self.rig.upstream(_echo)
        at = places(
            self.home,
            port or free_port(),
            [gateway.address],
            app=("127.0.0.1", app.port),
            certificate=certificate,
        )
        with FRONTS[self.name](at) as address:
            yield address


async def _echo(peer: Peer) -> None:
    while True:
        line = (await peer.request()).partition(b"\r\n")[0]
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (len(line), line))


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest, rig: Rig, tmp_path: Path) -> Proxied:
    return Proxied(request.param, rig, tmp_path)


def test_one_origin_in_http_2(front: Proxied) -> None:
    """The page, its backend and the gateway are on one origin with TLS; an upload of 9 MB gets through."""
    authority, port = trustme.CA(), free_port()
    certificate = front.home / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    gateway = front.rig.gateway(
        front.rig.upstream(Recording(b'{"request_id": "x"}')).url,
        origin=f"https://localhost:{port}",
        server=LOOPBACK,
        endpoints=[{"id": ENDPOINT, "schema": "any"}],
    )
    large = {**INPUT, "prompt": "a" * 9_000_000}
    sign_in = {"authorization": f"Bearer {token()}"}
    with (
        front.before(gateway, port=port, certificate=certificate),
        httpx2.Client(base_url=f"https://localhost:{port}", verify=context, http2=True, timeout=PATIENCE) as client,
    ):
        pages = [client.get(path).text for path in ("/", "/a/route")]
        backend = client.get("/auth/login")
        submitted = client.post(SUBMIT.decode(), json=large, headers=sign_in)

    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert pages == ([page, page] if front.name in WITH_PAGES else ["GET / HTTP/1.1", "GET /a/route HTTP/1.1"])
    assert backend.text.startswith("GET /auth/login HTTP/1.")
    assert (backend.http_version, submitted.http_version) == ("HTTP/2", "HTTP/2")
    assert submitted.status_code == 200


def test_stock_client(rig: Rig, tmp_path: Path) -> None:
    """Every test of fal's JavaScript client passes through nginx."""
    port, sandbox = free_port(), rig.sandbox(replace(QUICK, run_seconds=0.6))  # a status stream starts before its end
    here = {"queue_origin": sandbox.queue, "run_origin": sandbox.run}
    gateway = rig.gateway(
        sandbox.queue, origin=f"http://127.0.0.1:{port}", server=LOOPBACK, fal=here, endpoints=[ALL_ACTIONS]
    )
    with Proxied("nginx", rig, tmp_path).before(gateway, port=port):
        for script in ("queue.test.mjs", "streams.test.mjs"):
            javascript(script, GATEWAY=gateway.url, CONTROL=sandbox.control)


def test_an_upgrade_ends_at_the_front(front: Proxied) -> None:
    """M1: what hides behind an Upgrade reaches the gateway as a body, and never as a request."""
    smuggled = b"\r\n" * 32768 + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    raw = message("POST", SUBMIT, bearer(), JSON, b"Upgrade: anything", body=smuggled).replace(
        b"Connection: close", b"Connection: upgrade, close"
    )
    gateway = front.rig.gateway(front.rig.upstream(Peer.gone).url, server=LOOPBACK)
    with front.before(gateway) as address:
        through = replies(ask(address, raw))
        until(lambda: "submit" in {line["action"] for line in gateway.requests()})

    assert [(reply.status, b"malformed_json" in reply.body) for reply in through] == [(400, True)]
    assert {line["path"] for line in gateway.requests()} - {"/readyz", "/api/fal/usage"} == {None}


def test_addresses_are_the_clients(front: Proxied) -> None:
    """H10: behind the trusted front callers are counted by their own addresses, whatever they claim to be."""
    rule = {"name": "submit-address", "per": "address", "actions": ["submit"], "rate": "2/minute"}
    gateway = front.rig.gateway(front.rig.sandbox().queue, server=LOOPBACK, limits=[rule])

    def status(address: Address, source: str, *claims: bytes) -> int:
        raw = message("POST", SUBMIT, bearer(), JSON, *claims, body=json.dumps(INPUT).encode())
        return int(ask(address, raw, source=source).split(b" ", 2)[1])

    with front.before(gateway) as address:
        statuses = [status(address, "127.0.0.5") for _ in range(3)]
        claimed = [status(address, "127.0.0.5", b"X-Forwarded-For: %b" % claim) for claim in CLAIMS]
        other = status(address, "127.0.0.6")
    untrusted = [status(gateway.address, "127.0.0.7", b"X-Forwarded-For: 1.2.3.%d" % n) for n in range(3)]

    assert statuses == [200, 200, 429]
    assert claimed == [429] * len(CLAIMS)
    assert other == 200
    assert untrusted == [200, 200, 429]


CLAIMS = (b"1.2.3.4", b"127.0.0.6", b"127.0.0.1", b"::1", b"unknown", b"1.2.3.4, 127.0.0.1", b"127.0.0.6:80", b"\xff")


@pytest.mark.parametrize("mode", ["path", "header"])
def test_events_come_as_they_are_sent(front: Proxied, mode: str) -> None:
    """Each event of a status stream reaches the caller by itself, most within 200 ms."""
    feed, late = Feed(), []
    gateway = front.rig.gateway(front.rig.upstream(feed).url, server=LOOPBACK)
    raw = stream_request(gateway.job(), mode=mode)
    with front.before(gateway) as address, Caller(address, raw) as caller:
        until(lambda: feed.open)
        for number in range(10):
            sent = front.rig.run(feed.give(status_event(logs=[{"message": f"line {number}."}])))
            late.append(caller.hear(f"line {number}.".encode()) - sent)
        front.rig.run(feed.give(status_event("COMPLETED")))
        answer = caller.rest()

    assert statistics.median(late) < USUAL, late
    assert max(late) < LATEST, late
    assert answer.endswith(LAST_CHUNK)


def test_pieces_of_a_run_come_as_they_are_sent(front: Proxied) -> None:
    """A run stream too, by path and by header, also where it is no events."""
    for first, kind in ((head(), "path"), (head(b"application/octet-stream"), "header")):
        feed, late = Feed(first), []
        gateway = front.rig.gateway(front.rig.upstream(feed).url, server=LOOPBACK, endpoints=[ALL_ACTIONS])
        raw = run_request("/stream", mode=kind)
        with front.before(gateway) as address, Caller(address, raw) as caller:
            until(lambda: feed.open)  # noqa: B023 called at once
            for number in range(5):
                sent = front.rig.run(feed.give(b"data: piece %d\n\n" % number))
                late.append(caller.hear(b"piece %d" % number) - sent)
            front.rig.run(feed.end())
            assert caller.rest().endswith(LAST_CHUNK)
        assert statistics.median(late) < USUAL, late
        assert max(late) < LATEST, late


def test_callers_leave(front: Proxied) -> None:
    """fal's connection is closed within a second, whether or not fal has sent anything, in both modes."""
    took = []
    feed = Feed()
    gateway = front.rig.gateway(front.rig.upstream(feed).url, server=LOOPBACK)
    with front.before(gateway) as address:
        for number in range(1, 9):
            feed.first = head() if number % 2 else b""
            mode = "path" if number % 4 < 2 else "header"
            with Caller(address, stream_request(gateway.job(), mode=mode)) as caller:
                until(lambda: len(feed.asked) == number and feed.open)  # noqa: B023 called at once
                if number % 2:
                    front.rig.run(feed.give(status_event()))
                    caller.hear(b"IN_PROGRESS")
                gone = caller.leave()
            until(lambda: len(feed.left) == number, 5 * WITHIN)  # noqa: B023 called at once
            took.append(feed.left[-1] - gone)

    assert max(took) < WITHIN, took


# Times after which a front gives up. Without one, or with 0, Caddy and Traefik wait for as long as the gateway does.
LONGEST = {
    "nginx/app.conf": r"proxy_read_timeout (\d+)s",
    "haproxy/haproxy.cfg": r"timeout (?:server|client) (\d+)s",
    "caddy/Caddyfile": r"(?:response_header|read|write)_timeout (\d+)s",
    "traefik/traefik.toml": r'writeTimeout = "(\d+)s"',
    "traefik/routes.toml": r'responseHeaderTimeout = "(\d+)s"',
}


def test_nginx_refuses_an_overload(rig: Rig, tmp_path: Path) -> None:
    """With its lines about overload nginx refuses a second poll itself; cancels, runs and streams pass."""
    reached: list[bytes] = []

    async def wait(peer: Peer) -> None:
        reached.append((await peer.request()).partition(b" HTTP/")[0])
        await peer.gone()

    job = f"/api/fal/queue/{ENDPOINT}/requests/1"
    uncounted = [
        message("PUT", f"{job}/cancel".encode()),
        message("GET", f"{job}/status/stream".encode()),
        message("POST", f"/api/fal/run/{ENDPOINT}".encode()),
        message("PUT", b"/api/fal/proxy", b"x-fal-target-url: https://queue.fal.run/a/b/requests/1/cancel"),
        message("POST", b"/api/fal/proxy", b"x-fal-target-url: https://fal.run/a/b"),
    ]
    at = places(tmp_path, free_port(), [("127.0.0.1", rig.upstream(wait).port)])
    with nginx_with(tmp_path, limited_site(at, 1), at.port) as address, ExitStack() as open_calls:

        def hold(raw: bytes) -> None:
            before = len(reached)
            open_calls.enter_context(socket.create_connection(address, timeout=PATIENCE)).sendall(raw)
            until(lambda: len(reached) > before)

        hold(message("GET", f"{job}/status".encode()))
        url = f"http://{address[0]}:{address[1]}{job}"
        refused = [httpx2.get(f"{url}/status", trust_env=False), httpx2.post(url, json=INPUT, trust_env=False)]
        for raw in uncounted:
            hold(raw)

    assert [(answer.status_code, answer.json()["error_type"]) for answer in refused] == [(503, "overloaded")] * 2
    assert {answer.headers["retry-after"] for answer in refused} <= {"1", "2", "3"}
    assert len(reached) == 1 + len(uncounted)


@pytest.mark.parametrize("name", LONGEST)
def test_no_front_answers_in_our_place(name: str) -> None:
    """Stock clients replay a front's own 502 and 504, so it waits longer than the gateway does."""
    waits = [float(found) for found in re.findall(LONGEST[name], (DEPLOY / name).read_text(encoding="utf-8"))]

    assert bool(waits) == (name != "caddy/Caddyfile")
    assert all(seconds == 0 or seconds > max(Fal().submit_seconds, Fal().run_seconds) for seconds in waits)


async def test_one_of_two_gateways_drains(tmp_path: Path) -> None:
    """While one gateway stops and starts again, every submit through every front is answered by 200."""
    async with money(tmp_path, "redis") as rig, AsyncExitStack() as stack:
        second = _second(rig)
        await second.start()
        stack.push_async_callback(second.stop)
        addresses = [_address(rig.gateway.url), _address(second.url)]
        urls = [stack.enter_context(_front(name, tmp_path, addresses)) for name in FRONTS]
        over = asyncio.Event()
        submitting = [
            asyncio.create_task(_submit_until(over, url, fresh=fresh)) for url in urls for fresh in (True, False)
        ]
        for _ in range(2):
            os.kill(second.pid, signal.SIGTERM)
            await budgets.until(lambda: not budgets.is_running(second.pid))
            await second.start()
        over.set()
        statuses = await asyncio.gather(*submitting)

    assert min(map(len, statuses)) > 10
    assert [set(one) for one in statuses] == [{200}] * len(statuses)


def _second(rig: budgets.Rig) -> budgets.Gateway:
    """Starts a second gateway of the same store, which is red at `/readyz` for 3 s before it stops."""
    port, admin = adjacent_ports(1), adjacent_ports(1)
    text = rig.config.read_text()
    for key, value in re.findall(r"^(port) = (\d+)$", text, re.MULTILINE):
        assert text.count(f"{key} = {value}\n") == 1
    first, other = re.findall(r"^port = (\d+)$", text, re.MULTILINE)
    text = text.replace(f"port = {first}\n", f"port = {port}\ndrain_seconds = 3\n").replace(
        f"port = {other}\n", f"port = {admin}\n"
    )
    config = rig.config.with_name("second.toml")
    config.write_text(text)
    return budgets.Gateway(config, rig.environ, workers=1, port=port, admin=admin)


def _address(url: str) -> Address:
    return "127.0.0.1", int(url.rpartition(":")[2])


@contextmanager
def _front(name: str, home: Path, gateways: list[Address]) -> Iterator[str]:
    own = home / name
    own.mkdir()
    with FRONTS[name](places(own, free_port(), gateways)) as (host, port):
        yield f"http://{host}:{port}"


async def _submit_until(over: asyncio.Event, url: str, *, fresh: bool) -> list[int]:
    statuses = []
    async with Submitter(url, "alice", fresh=fresh, patient=False) as caller:
        while not over.is_set():
            statuses.append((await caller.submit(budgets.endpoint(0))).status)
            await budgets.moment(over, 0.05)
    return statuses
