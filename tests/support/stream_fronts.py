"""Fronts that compress, and the times at which events of a status stream arrive through them."""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from support.browser import ARTIFACTS
from support.example_apps import EXAMPLES, app_process, node_program
from support.front_proxies import Address, nginx_with, running
from support.gateway_process import PATIENCE, Gateway, Rig, program, until
from support.in_process_gateway import APP, token
from support.shipped_fronts import nginx_site, places
from support.streams import Feed, head, status_event, whole

ROOT = EXAMPLES.parent
EVENTS = 6
# Seconds: the aim for an event, met by most of them also on a busy machine. The longest must be less than the
# gateway's heartbeat of 4 s, which would push an event out of a buffer.
USUAL, LONGEST = 0.2, 2.0
# As Chromium asks; an answer in another coding than gzip would not be read by the tests, and fail them.
BROWSER = {"accept": "text/event-stream", "accept-encoding": "gzip, deflate, br, zstd"}
_GZIP = "gzip on; gzip_proxied any; gzip_min_length 0; gzip_types application/json text/event-stream;\n"
_CADDY = """
{{
    admin off
    auto_https off
    persist_config off
}}
http://127.0.0.1:{port} {{
    encode gzip zstd
    reverse_proxy {gateway}
}}
"""
_HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 125s
    compression algo gzip
    compression type application/json text/event-stream
    option http-no-delay
frontend app
    bind 127.0.0.1:{port}
    default_backend gateway
backend gateway
    server gateway {gateway}
"""


class Watcher(threading.Thread):
    """Browser at the status stream of JOB, behind a front at *origin*, until the front ends the answer."""

    def __init__(self, gateway: Gateway, origin: str, mode: str) -> None:
        super().__init__(daemon=True)
        job = gateway.job()
        path = f"{APP}/requests/{job}/status/stream"
        target = {"x-fal-target-url": f"https://queue.fal.run/{path}"} if mode == "header" else {}
        self._url = f"{origin}/api/fal/proxy" if mode == "header" else f"{origin}/api/fal/queue/{path}"
        self._headers = {**BROWSER, **target, "authorization": f"Bearer {token()}"}
        self._client = httpx2.Client(timeout=PATIENCE, trust_env=False)
        self._chunks: list[tuple[float, str]] = []
        self.coding: str | None = None

    def run(self) -> None:
        with self._client, self._client.stream("GET", self._url, headers=self._headers) as answer:
            self.coding = answer.headers.get("content-encoding")
            for text in answer.iter_text():
                self._chunks.append((time.monotonic(), text))

    def arrival(self, text: str) -> float:
        """Returns the time at which *text* was there; waits for it."""
        until(lambda: text in "".join(chunk for _, chunk in self._chunks))
        return next(at for at, chunk in self._chunks if text in chunk)


def watch_through(front: str, rig: Rig, gateway: Gateway, feed: Feed, origin: str) -> None:
    """Follows a job through *origin* in both modes. Each event is sent when the one before it has arrived."""
    for mode in ("path", "header"):
        seconds = []
        watcher = Watcher(gateway, origin, mode)
        watcher.start()
        until(lambda: feed.open)
        for number in range(EVENTS):
            sent = rig.run(feed.give(status_event(logs=[{"message": f"line {number}."}])))
            seconds.append(watcher.arrival(f"line {number}.") - sent)
        rig.run(feed.give(status_event("COMPLETED")))
        watcher.join(PATIENCE)
        assert not watcher.is_alive()
        _record(f"{front} {mode} {watcher.coding}", seconds)
        assert statistics.median(seconds) < USUAL, seconds
        assert max(seconds) < LONGEST, seconds


def compresses(gateway: Gateway, feed: Feed, origin: str) -> bool:
    """Returns True where the front at *origin* compresses another answer of the gateway, a result."""
    feed.first = whole(200, {"images": [], "padding": "x" * 4000})
    with gateway.client() as client:
        path = f"{APP}/requests/{gateway.job()}"
        answer = client.get(f"{origin}/api/fal/queue/{path}", headers={**BROWSER, "accept": "*/*"})
    feed.first = head()
    assert answer.status_code == 200, answer.text
    until(lambda: not feed.open)
    return "content-encoding" in answer.headers


def _record(what: str, seconds: list[float]) -> None:
    """Adds a line to a report for people."""
    ARTIFACTS.mkdir(exist_ok=True)
    with (ARTIFACTS / "stream-fronts.txt").open("a", encoding="utf-8") as report:
        report.write(f"{what}: {' '.join(f'{1000 * each:.1f}' for each in seconds)} ms\n")


@contextmanager
def vite(home: Path, gateway: Address, port: int) -> Iterator[None]:
    """Runs the dev server of the example `vite-react`."""
    command = [*node_program("vite-react", "vite"), "--port", str(port), "--strictPort", "--host", "127.0.0.1"]
    environ = {"GATEWAY": f"http://{gateway[0]}:{gateway[1]}"}
    with app_process(command, EXAMPLES / "vite-react", environ, port=port, log=home / "vite.log"):
        yield


@contextmanager
def express(home: Path, gateway: Address, port: int) -> Iterator[None]:
    """Runs the Express app of docs/frameworks.md."""
    page = (ROOT / "docs/frameworks.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```js title=\"docs-express\"\n(.*?)```", page, re.DOTALL)
    (home / "front.mjs").write_text(code, encoding="utf-8")
    modules = ROOT / "tests/fronts/node_modules"
    assert modules.exists(), "run `make test`, which installs the npm packages"
    (home / "node_modules").symlink_to(modules)
    environ = {"GATEWAY": f"http://{gateway[0]}:{gateway[1]}", "PORT": str(port)}
    with app_process([program("node"), "front.mjs"], home, environ, port=port, log=home / "express.log"):
        yield


@contextmanager
def nginx(home: Path, gateway: Address, port: int) -> Iterator[None]:
    """Runs nginx with the shipped configuration, and with gzip for all types."""
    site = nginx_site(places(home, port, [gateway]))
    with nginx_with(home, _GZIP + site, port):
        yield


@contextmanager
def caddy(home: Path, gateway: Address, port: int) -> Iterator[None]:
    """Runs Caddy with `encode`."""
    (home / "Caddyfile").write_text(_CADDY.format(gateway=f"{gateway[0]}:{gateway[1]}", port=port), encoding="utf-8")
    command = [program("caddy"), "run", "--config", f"{home}/Caddyfile"]
    with running(command, port, log=home / "caddy.log", environ={"HOME": str(home)}):
        yield


@contextmanager
def haproxy(home: Path, gateway: Address, port: int) -> Iterator[None]:
    """Runs HAProxy with compression."""
    (home / "haproxy.cfg").write_text(
        _HAPROXY.format(gateway=f"{gateway[0]}:{gateway[1]}", port=port), encoding="utf-8"
    )
    with running([program("haproxy"), "-db", "-f", f"{home}/haproxy.cfg"], port, log=home / "haproxy.log"):
        yield
