"""CPU microseconds of one exchange with the upstream, for each HTTP client.

    ROUNDS=5 REQUESTS=3000 CALLERS=32 python bench/clients.py [client ...]

Starts an nginx of its own on loopback, plain and TLS 1.3 (with a temporary CA). This process sends CALLERS requests at
once over kept-alive connections on uvloop. Few callers cost more each: less work per turn of the loop.
Clients that are not installed are left out: to compare them all, install them next to this project in a virtual
environment of its own:

    pip install aiohttp httpx2 'httpx-aiohttp[httpx2]' pyreqwest wreq uvloop httptools trustme

The figure is user + system time of this process with all its threads (`time.process_time`). It has the worker threads
of the Rust clients, and not nginx. Rounds are interleaved: each visits every client in a fresh random order, on
new connections, after a warm-up. The table holds medians and the range of the rounds.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path

import trustme
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

ROUNDS = int(os.environ.get("ROUNDS", "5"))
REQUESTS = int(os.environ.get("REQUESTS", "3000"))
CALLERS = int(os.environ.get("CALLERS", "32"))
WARM_UP = 20  # requests a caller

POLL = "/fal-ai/hyper-sdxl/requests/764cabcf-b745-4b3e-ae38-1200304cf45b/status"
SUBMIT = "/fal-ai/hyper-sdxl/image-to-image"
PAYLOAD = b'{"image_url": "https://example.test/cat.png", "prompt": "%s", "num_images": 1}' % (b"a cat " * 46)
ANSWER = b'{"status": "IN_QUEUE", "request_id": "764cabcf-b745-4b3e-ae38-1200304cf45b", "logs": "%s"}' % (b"x" * 220)
FIELDS = {
    "authorization": "Key 00000000-0000-0000-0000-000000000000:00000000000000000000000000000000",
    "user-agent": "bench",
    "accept": "application/json",
    "accept-encoding": "identity",
}

Send = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]


@dataclass(frozen=True)
class Authority:
    """The throw-away CA, in the two forms the clients want it."""

    file: str
    pem: bytes


Client = Callable[[str, Authority], AbstractAsyncContextManager[Send]]

NGINX = """
daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; default_type application/json; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path {home}/1; proxy_temp_path {home}/2; fastcgi_temp_path {home}/3;
  uwsgi_temp_path {home}/4; scgi_temp_path {home}/5;
  server {{ listen 127.0.0.1:{plain}; location / {{ return 200 '{answer}'; }} }}
  server {{
    listen 127.0.0.1:{tls} ssl; ssl_protocols TLSv1.3;
    ssl_certificate {home}/cert.pem; ssl_certificate_key {home}/cert.pem;
    location / {{ return 200 '{answer}'; }}
  }}
}}
"""


@asynccontextmanager
async def ours(base: str, ca: Authority) -> AsyncIterator[Send]:
    from proxy.http.client.client import HttpClient
    from proxy.http.client.messages import FieldLines, UpstreamRequest
    from proxy.http.client.tls import tls_context
    from proxy.http.origin import Origin

    origin = Origin.parse(base)
    tls = tls_context(ca.file) if origin.scheme == "https" else None
    client = HttpClient(origin, tls=tls)
    fields = tuple((name.encode(), value.encode()) for name, value in FIELDS.items())

    async def send(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        request = UpstreamRequest(method.encode(), path.encode(), FieldLines(fields), body)
        response = await client.fetch(request, timeout=30.0, max_body=1 << 20)
        return response.status, response.body

    yield send
    await client.aclose()


@asynccontextmanager
async def httpx2(base: str, ca: Authority) -> AsyncIterator[Send]:
    import httpx2 as httpx

    trust = ssl.create_default_context(cafile=ca.file)
    async with httpx.AsyncClient(verify=trust, trust_env=False, timeout=30) as client:

        async def send(method: str, path: str, body: bytes) -> tuple[int, bytes]:
            response = await client.request(method, base + path, headers=FIELDS, content=body or None)
            return response.status_code, response.content

        yield send


@asynccontextmanager
async def httpx2_aiohttp(base: str, ca: Authority) -> AsyncIterator[Send]:
    import httpx2 as httpx
    from httpx_aiohttp.httpx2 import AiohttpTransport

    trust = ssl.create_default_context(cafile=ca.file)
    async with httpx.AsyncClient(transport=AiohttpTransport(verify=trust), trust_env=False, timeout=30) as client:

        async def send(method: str, path: str, body: bytes) -> tuple[int, bytes]:
            response = await client.request(method, base + path, headers=FIELDS, content=body or None)
            return response.status_code, response.content

        yield send


@asynccontextmanager
async def aiohttp(base: str, ca: Authority) -> AsyncIterator[Send]:
    import aiohttp

    trust = ssl.create_default_context(cafile=ca.file)
    limits = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(ssl=trust, limit=100)
    async with aiohttp.ClientSession(connector=connector, timeout=limits, auto_decompress=False) as client:

        async def send(method: str, path: str, body: bytes) -> tuple[int, bytes]:
            async with client.request(
                method, base + path, headers=FIELDS, data=body or None, allow_redirects=False
            ) as response:
                return response.status, await response.classify_read()

        yield send


@asynccontextmanager
async def pyreqwest(base: str, ca: Authority) -> AsyncIterator[Send]:
    from datetime import timedelta

    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().add_root_certificate_pem(ca.pem).timeout(timedelta(seconds=30))
    async with builder.no_proxy().follow_redirects(False).max_connections(100).build() as client:

        async def send(method: str, path: str, body: bytes) -> tuple[int, bytes]:
            request = client.request(method, base + path).headers(FIELDS)
            if body:
                request = request.body_bytes(body)
            response = await request.build().send()
            return response.status, bytes(await response.bytes())

        yield send


@asynccontextmanager
async def wreq(base: str, ca: Authority) -> AsyncIterator[Send]:
    from datetime import timedelta

    import wreq
    from wreq.tls import CertStore

    trust = CertStore.from_pem_stack(ca.pem)
    client = wreq.Client(tls_verify=trust, no_proxy=True, timeout=timedelta(seconds=30), http1_only=True)

    async def send(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        verb = getattr(wreq.Method, method)
        response = await client.request(verb, base + path, headers=FIELDS, **({"body": body} if body else {}))
        return response.status.as_int(), bytes(await response.bytes())

    yield send


# name -> (client, the distribution whose version is printed, the modules it needs)
CLIENTS: dict[str, tuple[Client, str, tuple[str, ...]]] = {
    "ours": (ours, "httptools", ("httptools",)),
    "httpx2": (httpx2, "httpx2", ("httpx2",)),
    "httpx2-aiohttp": (httpx2_aiohttp, "httpx-aiohttp", ("httpx2", "httpx_aiohttp")),
    "aiohttp": (aiohttp, "aiohttp", ("aiohttp",)),
    "pyreqwest": (pyreqwest, "pyreqwest", ("pyreqwest",)),
    "wreq": (wreq, "wreq", ("wreq",)),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def nginx() -> Iterator[tuple[dict[str, str], Authority]]:
    """Yields the base URL of each scheme, and the authority that signed the TLS certificate."""
    home = Path(tempfile.mkdtemp(prefix="bench-clients-"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(home / "ca.pem"))
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(home / "cert.pem"))
    plain, tls = free_port(), free_port()
    config = home / "nginx.conf"
    config.write_text(NGINX.format(home=home, plain=plain, tls=tls, answer=ANSWER.decode()))
    process = subprocess.Popen(["nginx", "-c", str(config), "-e", str(home / "error.log")])
    try:
        wait_for(tls)
        ca = Authority(str(home / "ca.pem"), authority.cert_pem.bytes())
        yield {"http": f"http://localhost:{plain}", "https": f"https://localhost:{tls}"}, ca
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(home)


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("nginx did not start")


async def caller(send: Send, method: str, path: str, body: bytes, count: int) -> None:
    for _ in range(count):
        status, answer = await send(method, path, body)
        if status != 200 or len(answer) != len(ANSWER):
            raise RuntimeError(f"unexpected answer: {status}, {len(answer)} bytes")


async def crowd(send: Send, kind: str, count: int) -> None:
    call = ("GET", POLL, b"") if kind == "poll" else ("POST", SUBMIT, PAYLOAD)
    await asyncio.gather(*(caller(send, *call, count) for _ in range(CALLERS)))


async def measure_slice(client: Client, base: str, ca: Authority, kind: str) -> float:
    """Returns CPU microseconds a request."""
    each = max(1, REQUESTS // CALLERS)
    async with client(base, ca) as send:
        await crowd(send, kind, WARM_UP)
        before = time.process_time()
        await crowd(send, kind, each)
        return (time.process_time() - before) / (each * CALLERS) * 1e6


async def measure(names: list[str]) -> None:
    figures: dict[tuple[str, str, str], list[float]] = {}
    with nginx() as (bases, ca):
        for _ in range(ROUNDS):
            visits = list(product(names, bases, ("poll", "submit")))
            random.shuffle(visits)
            for name, scheme, kind in visits:
                cost = await measure_slice(CLIENTS[name][0], bases[scheme], ca, kind)
                figures.setdefault((name, scheme, kind), []).append(cost)
    report(names, figures)


def report(names: list[str], figures: dict[tuple[str, str, str], list[float]]) -> None:
    columns = list(product(("http", "https"), ("poll", "submit")))
    print(f"\nCPU us/request, median [min-max] of {ROUNDS} rounds of {REQUESTS}, {CALLERS} callers")
    print(
        f"Python {sys.version.split()[0]}, uvloop {uvloop.__version__}, {ssl.OPENSSL_VERSION}, {os.cpu_count()} cores\n"
    )
    print("| client |", " | ".join(f"{scheme} {kind}" for scheme, kind in columns), "|")
    print("|---" * (len(columns) + 1) + "|")
    for name in names:
        cells = [figures[name, *column] for column in columns]
        row = " | ".join(f"{statistics.median(cell):.1f} [{min(cell):.1f}-{max(cell):.1f}]" for cell in cells)
        print(f"| {name} ({CLIENTS[name][1]} {version(CLIENTS[name][1])}) | {row} |")


def installed(name: str) -> bool:
    missing = [module for module in CLIENTS[name][2] if importlib.util.find_spec(module) is None]
    if missing:
        print(f"{name}: left out, {', '.join(missing)} not installed", file=sys.stderr)
    return not missing


if __name__ == "__main__":
    uvloop.run(measure([name for name in sys.argv[1:] or CLIENTS if installed(name)]))
