"""The shipped nginx configuration on a real nginx: an app's page and the gateway on one origin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from support import hostile_targets
from support.front_proxies import free_port, nginx_with
from support.gateway_process import JSON, Rig, ask, bearer, javascript, message, until
from support.in_process_gateway import ENDPOINT, INPUT
from support.raw_http import replies
from support.scripted_upstream import Peer
from support.streams import (
    ALL_ACTIONS,
    LAST_CHUNK,
    WITHIN,
    Caller,
    Feed,
    head,
    run_request,
    status_event,
    stream_request,
)

from proxy.config.sections.fal import Fal

SHIPPED = Path(__file__).parents[2] / "deploy/nginx"
LOOPBACK = {"trusted_proxies": ["127.0.0.1/32"]}
SUBMIT = f"/api/fal/queue/{ENDPOINT}".encode()


@contextmanager
def nginx(home: Path, gateway: tuple[str, int], port: int) -> Iterator[tuple[str, int]]:
    """The shipped app.conf with nothing replaced but where things are; the address it listens on."""
    conf = (SHIPPED / "app.conf").read_text(encoding="utf-8")
    places = {
        "server 127.0.0.1:8080;": f"server {gateway[0]}:{gateway[1]};",
        "listen 8000;": f"listen 127.0.0.1:{port};",
        "root /usr/share/nginx/html;": f"root {SHIPPED}/html;",
    }
    for shipped, here in places.items():
        assert conf.count(shipped) == 1
        conf = conf.replace(shipped, here)
    with nginx_with(home, conf, port) as address:
        yield address


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    return free_port()


def test_one_origin(rig: Rig, tmp_path: Path, port: int) -> None:
    """The page is at /, and every test of the stock JavaScript client passes through nginx."""
    sandbox, origin = rig.sandbox(), f"http://127.0.0.1:{port}"
    here = {"queue_origin": sandbox.queue, "run_origin": sandbox.run}
    gateway = rig.gateway(sandbox.queue, origin=origin, server=LOOPBACK, fal=here, endpoints=[ALL_ACTIONS])
    with nginx(tmp_path, gateway.address, port):
        page = httpx2.get(f"{origin}/", trust_env=False)
        for script in ("queue.test.mjs", "streams.test.mjs"):
            javascript(script, GATEWAY=gateway.url, CONTROL=sandbox.control)

    assert page.headers["content-type"] == "text/html"
    assert page.content == (SHIPPED / "html/index.html").read_bytes()


def test_an_upgrade_ends_at_nginx(rig: Rig, tmp_path: Path, port: int) -> None:
    """M1: what hides behind an Upgrade reaches the gateway as the body it is, and never as a request of its own."""
    smuggled = b"\r\n" * 32768 + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    raw = message("POST", SUBMIT, bearer(), JSON, b"Upgrade: anything", body=smuggled).replace(
        b"Connection: close", b"Connection: upgrade, close"
    )
    gateway = rig.gateway(rig.upstream(Peer.gone).url, server=LOOPBACK)
    with nginx(tmp_path, gateway.address, port) as address:
        through = replies(ask(address, raw))
    direct = replies(ask(gateway.address, raw))

    assert [(reply.status, b"malformed_json" in reply.body) for reply in through] == [(400, True)]
    assert [(reply.status, b"malformed_request" in reply.body) for reply in direct] == [(400, True)]
    until(lambda: len(gateway.requests()) >= 1)
    assert {line["action"] for line in gateway.requests()} == {"submit"}


def test_targets_meet_the_same_verdict(rig: Rig, tmp_path: Path, port: int) -> None:
    """U10: every hostile target gets through nginx the status it gets without, and none of them gets to fal."""
    upstream = rig.upstream(Peer.gone)
    gateway = rig.gateway(upstream.url, server=LOOPBACK)
    wrong = {}
    with nginx(tmp_path, gateway.address, port) as address:
        for name, method, path, query, status in hostile_targets.PATH_ROWS:
            target = b"/api/fal/queue" + path + (b"?" + query if query else b"")
            raw = message(method, target, bearer(), JSON, body=b"")
            verdicts = [int(ask(place, raw).split(b" ", 2)[1]) for place in (address, gateway.address)]
            if verdicts != [status, status]:
                wrong[name] = (status, verdicts)

    assert len(hostile_targets.PATH_ROWS) > 30
    assert wrong == {}
    assert upstream.accepted == 0


def test_addresses_are_the_clients(rig: Rig, tmp_path: Path, port: int) -> None:
    """H10: behind the trusted nginx callers are counted by their own addresses, whatever they claim to be."""
    rule = {"name": "submit-address", "per": "address", "actions": ["submit"], "rate": "2/minute"}
    gateway = rig.gateway(rig.sandbox().queue, server=LOOPBACK, limits=[rule])

    def status(address: tuple[str, int], source: str, *claims: bytes) -> int:
        raw = message("POST", SUBMIT, bearer(), JSON, *claims, body=json.dumps(INPUT).encode())
        return int(ask(address, raw, source=source).split(b" ", 2)[1])

    with nginx(tmp_path, gateway.address, port) as address:
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
def test_events_come_as_they_are_sent(rig: Rig, tmp_path: Path, port: int, mode: str) -> None:
    """Each event of a status stream is with the caller within 100 ms, the first one as the last."""
    feed, late = Feed(), []
    gateway = rig.gateway(rig.upstream(feed).url, server=LOOPBACK)
    raw = stream_request(gateway.job(), mode=mode)
    with nginx(tmp_path, gateway.address, port) as address, Caller(address, raw) as caller:
        until(lambda: feed.open)
        for number in range(10):
            sent = rig.run(feed.give(status_event(logs=[{"message": f"line {number}."}])))
            late.append(caller.hear(f"line {number}.".encode()) - sent)
        rig.run(feed.give(status_event("COMPLETED")))
        answer = caller.rest()

    assert max(late) < 0.1, late
    assert answer.endswith(LAST_CHUNK)


@pytest.mark.parametrize("mode", ["path", "header"])
def test_callers_leave(rig: Rig, tmp_path: Path, port: int, mode: str) -> None:
    """fal's connection is closed within a second: ten of ten, half of them before fal has said a word."""
    took = []
    feed = Feed()
    gateway = rig.gateway(rig.upstream(feed).url, server=LOOPBACK)
    with nginx(tmp_path, gateway.address, port) as address:
        for number in range(1, 11):
            feed.first = head() if number % 2 else b""
            with Caller(address, stream_request(gateway.job(), mode=mode)) as caller:
                until(lambda: len(feed.asked) == number and feed.open)  # noqa: B023 called at once
                if number % 2:
                    rig.run(feed.give(status_event()))
                    caller.hear(b"IN_PROGRESS")
                gone = caller.leave()
            until(lambda: len(feed.left) == number, 5 * WITHIN)  # noqa: B023 called at once
            took.append(feed.left[-1] - gone)

    assert max(took) < WITHIN, took


def test_pieces_of_a_run_come_as_they_are_sent(rig: Rig, tmp_path: Path, port: int) -> None:
    """A run stream too, by path and by header, also where it is no events."""
    for first, kind in ((head(), "path"), (head(b"application/octet-stream"), "header")):
        feed, late = Feed(first), []
        gateway = rig.gateway(rig.upstream(feed).url, server=LOOPBACK, endpoints=[ALL_ACTIONS])
        raw = run_request("/stream", mode=kind)
        with nginx(tmp_path, gateway.address, port) as address, Caller(address, raw) as caller:
            until(lambda: feed.open)  # noqa: B023 called at once
            for number in range(5):
                sent = rig.run(feed.give(b"data: piece %d\n\n" % number))
                late.append(caller.hear(b"piece %d" % number) - sent)
            rig.run(feed.end())
            assert caller.rest().endswith(LAST_CHUNK)
        assert max(late) < 0.1, late


def test_nginx_does_not_answer_in_our_place(tmp_path: Path) -> None:
    """Stock clients replay nginx's own 502 and 504: it must wait longer than the gateway does, and never try twice."""
    conf = (SHIPPED / "app.conf").read_text(encoding="utf-8")
    longest = max(Fal().submit_seconds, Fal().run_seconds)
    callers = re.sub(r"location /api/fal/webhooks/ \{.*?\n    \}", "", conf, flags=re.DOTALL)  # fal is no stock client

    assert callers != conf
    assert min(int(seconds) for seconds in re.findall(r"proxy_read_timeout (\d+)s", callers)) > longest
    assert conf.count("proxy_next_upstream off;") == conf.count("proxy_pass ")
    assert conf.count('proxy_set_header Upgrade "";') == conf.count("proxy_pass ")
