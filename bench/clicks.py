"""Users at a running gateway: the stock JavaScript and Python clients, through nginx, without keys."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.budgets import CLIENTS, INPUT, Rig, endpoint, token
from support.front_proxies import free_port, nginx_with

USERS = 7  # sessions that the clients share
_SITE = """
upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 32; }}
server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{tls} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    location / {{
        proxy_pass http://gateway;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_read_timeout 60s;
        proxy_next_upstream off;
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """nginx before the gateway. *tls* is the port of the same site over TLS."""

    plain: int
    tls: int
    ca_file: Path


@contextmanager
def front(home: Path, rig: Rig) -> Iterator[Nginx]:
    """Runs nginx in front of the gateway, as docs/deployment.md has it: without repeats of its own."""
    home.mkdir()
    authority = trustme.CA()
    certificate, ca_file = home / "certificate.pem", home / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    ports = Nginx(free_port(), free_port(), ca_file)
    gateway = rig.gateway.url.rpartition(":")[2]
    site = _SITE.format(gateway=gateway, plain=ports.plain, tls=ports.tls, certificate=certificate)
    with nginx_with(home, site, ports.plain):
        yield ports


@dataclass
class Clicks:
    """Clicks that have ended, of both clients."""

    ended: list[dict[str, Any]] = field(default_factory=list)

    def statuses(self) -> Counter[int]:
        """Counts the last status of each click; 0 for a broken connection."""
        return Counter(click["status"] for click in self.ended)


@asynccontextmanager
async def clicking(nginx: Nginx, **task: object) -> AsyncIterator[Clicks]:
    """Runs both clients with *task* until the end of the block, and waits for the clicks under way."""
    clicks = Clicks()
    shared: Mapping[str, object] = {
        "sessions": [token(f"user-{number}") for number in range(USERS)],
        "endpoint": endpoint(0),
        "input": dict(INPUT),
        **task,
    }
    hosts = {"FAL_QUEUE_RUN_HOST": f"localhost:{nginx.tls}/api/fal/queue", "SSL_CERT_FILE": str(nginx.ca_file)}
    url = f"http://127.0.0.1:{nginx.plain}/api/fal/proxy"
    programs: list[tuple[Sequence[str | Path], Mapping[str, object]]] = [
        (("node", CLIENTS / "clicks.mjs"), {**shared, "name": "js", "url": url}),
        ((sys.executable, CLIENTS / "clicks.py"), {**shared, "name": "py"}),
    ]
    processes = []
    for command, one in programs:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **hosts},
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(one).encode() + b"\n")
        processes.append(process)
    readers = [asyncio.create_task(_read(process, clicks)) for process in processes]
    try:
        yield clicks
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        await asyncio.gather(*readers)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _read(process: asyncio.subprocess.Process, clicks: Clicks) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        clicks.ended.append(json.loads(line))
