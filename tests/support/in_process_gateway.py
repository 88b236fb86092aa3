"""A whole application in process, over a scripted upstream."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx2

from proxy.app.application import Application
from proxy.app.setup.components import Components, build_components
from proxy.auth.token_minting import mint
from proxy.config.loader import read
from proxy.http.client.messages import UpstreamRequest, UpstreamResponse
from proxy.http.fields import Fields
from proxy.telemetry.json_log import JsonLogWriter
from proxy.upstream.body import UpstreamBody

ENDPOINT, APP = "fal-ai/hyper-sdxl/image-to-image", "fal-ai/hyper-sdxl"
FAL_KEY = "canary-id:canary-secret-5f1c"
SESSION_SECRET = "session-" + "5b1f0c8e9d7a4f3b2e6c" * 2
ISSUER, AUDIENCE = "https://app.example.com", "fal-proxy"
ORIGIN = "https://gate.example.com"
JOB = "764cabcf-b745-4b3e-ae38-1200304cf45b"
JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream")
INPUT = {"image_url": "https://example.com/cat.png", "prompt": "a cat"}


def document(**sections: object) -> dict[str, object]:
    return {
        "server": {"public_origin": ORIGIN},
        "fal": dict.fromkeys(("queue_origin", "run_origin", "rest_origin"), "http://127.0.0.1:9"),
        "sessions": [{"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "HS256", "secret_env": "SESSION_SECRET"}],
        "endpoints": [{"id": ENDPOINT}],
        "log": {"successful_polls": 1, "health_checks": True},
        **sections,
    }


ENVIRON = {
    "FAL_KEY": FAL_KEY,
    "SESSION_SECRET": SESSION_SECRET,
    "FAL_PROXY_HANDLE_SECRETS": "handle-secret-of-the-tests-000001",
}


def small_components(**sections: object) -> Components:
    return build_components(read(document(**sections), ENVIRON, base=Path()))


def token(subject: str = "alice", *, scopes: Sequence[str] = (), lifetime: float = 3000) -> str:
    return mint(
        algorithm="HS256",
        key=SESSION_SECRET.encode(),
        issuer=ISSUER,
        audience=AUDIENCE,
        subject=subject,
        lifetime=lifetime,
        now=time.time(),
        scopes=scopes,
    )


def reply(value: object, status: int = 200, *fields: tuple[bytes, bytes]) -> UpstreamResponse:
    return UpstreamResponse(status, (JSON, *fields), json.dumps(value).encode())


QUEUED = {"status": "IN_QUEUE", "request_id": JOB, "queue_position": 0, "status_url": "https://queue.fal.run/x"}


# Members that a line of a request has only where they are known.
NO_FACTS = dict.fromkeys(
    ("endpoint", "caller", "error_type", "reason", "outcome", "would_deny", "upstream_ms", "limit", "job", "path")
)


class Chunks:
    """An answer that comes in these pieces; an exception among them is raised in its place."""

    def __init__(
        self,
        pieces: Iterable[bytes | Exception],
        status: int = 200,
        headers: Fields = (EVENTS,),
    ) -> None:
        self.status = status
        self.headers = headers
        self._pieces = [piece for piece in pieces if piece != b""]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece


Step = UpstreamResponse | Exception | Callable[[], Awaitable[UpstreamResponse]]


@dataclass
class ScriptedUpstream:
    """Answers each request with the next of *script*, or raises it; the last one stays.

    It records the requests.
    """

    script: list[Step]
    asked: list[UpstreamRequest] = field(default_factory=list)

    async def fetch(
        self, request: UpstreamRequest, *, timeout: float, max_body: int, reserved: bool = False
    ) -> UpstreamResponse:
        self.asked.append(request)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, UpstreamResponse) else await step()

    @asynccontextmanager
    async def stream(
        self, request: UpstreamRequest, *, timeout_head: float, timeout_idle: float
    ) -> AsyncIterator[UpstreamBody]:
        answer = await self.fetch(request, timeout=timeout_head, max_body=0)
        yield Chunks([answer.body], answer.status, answer.headers)

    active = idle = 0

    async def aclose(self) -> None:
        self.script.clear()


@dataclass
class LocalGateway:
    """An application in process, its upstream requests and its log."""

    application: Application
    upstream: ScriptedUpstream
    journal: JsonLogWriter
    log: Path

    def client(self, subject: str | None = "alice") -> httpx2.AsyncClient:
        """Returns a caller with a session of *subject*, or with none."""
        transport = httpx2.ASGITransport(app=self.application.public, raise_app_exceptions=False)
        headers = {} if subject is None else {"authorization": f"Bearer {token(subject)}"}
        return httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)

    def lines(self) -> list[dict[str, object]]:
        """Returns all journal lines of requests; closes the journal."""
        self.journal.close()
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [{**NO_FACTS, **event} for event in events if event["event"] == "request"]

    async def metrics(self) -> str:
        transport = httpx2.ASGITransport(app=self.application.metrics)
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            return (await client.get("/metrics")).text


@contextmanager
def open_gateway(tmp_path: Path, *script: Step, **sections: object) -> Iterator[LocalGateway]:
    """Runs an application.

    *script* are the upstream's answers; *sections* replace those of the small configuration.
    """
    log = tmp_path / "journal"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    upstream = ScriptedUpstream(list(script) or [reply(QUEUED)])
    journal = JsonLogWriter(descriptor)
    yield LocalGateway(Application(small_components(**sections), journal, upstream=upstream), upstream, journal, log)
    journal.close()
    os.close(descriptor)
