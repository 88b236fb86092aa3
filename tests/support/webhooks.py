"""Support of webhook tests: a fal that signs messages, an app, and checks of both signatures.

The checks are written again from the texts of the standards."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from support.gateway_process import PATIENCE, Gateway, Rig, until
from support.in_process_gateway import APP, ENDPOINT, ENVIRON, INPUT, ISSUER
from support.sandbox import bound, origin

from proxy.auth.caller import caller_key
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.server import HttpServer
from proxy.http.server.state import SharedState

SECRET = "whsec_" + base64.b64encode(hashlib.sha256(b"the app's").digest()).decode()
OLD_SECRET = "whsec_" + base64.b64encode(hashlib.sha256(b"the app's old one").digest()).decode()
WEBHOOK_ENVIRON = {**ENVIRON, "FAL_PROXY_WEBHOOK_SECRETS": SECRET}
ACCOUNT = "fal-user-1"
BUDGET = {"name": "daily", "per": "user", "window": "24h", "limit": 1000}
SEATS = {"name": "jobs", "per": "user", "limit": 500}
PRICED = {"id": ENDPOINT, "price": "1.0"}


@asynccontextmanager
async def listening(app: Callable[[str], ASGIApp]) -> AsyncIterator[str]:
    """Runs an application that gets its own origin, and yields that origin."""
    (sock,) = bound()
    here = origin(sock)
    listener = HttpServer(app(here), shared=SharedState(ConnectionLimits(per_address=10_000)))
    await listener.start(sock=sock)
    try:
        yield here
    finally:
        await listener.stop(1.0)


@dataclass
class Fal:
    """Takes every submit as a job of the next of *ids*, and remembers the callback URL it came with.

    Never calls it.

    *jwks_status* is what the key set is answered with; *published* are the keys in it.
    """

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    origin: str = ""
    callbacks: dict[str, str] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)
    jwks_status: int = 200
    jwks_asked: int = 0
    published: list[dict[str, object]] = field(default_factory=list)
    submit_status: int = 200

    def __post_init__(self) -> None:
        self.published.append(jwk(self.key))

    def app(self, here: str) -> ASGIApp:
        self.origin = here
        return Starlette(
            routes=[
                Route("/.well-known/jwks.json", self._jwks, methods=["GET"]),
                Route("/{endpoint:path}", self._submit, methods=["POST"]),
            ]
        )

    async def _jwks(self, _: Request) -> Response:
        self.jwks_asked += 1
        return JSONResponse({"keys": self.published}, self.jwks_status)

    async def _submit(self, request: Request) -> Response:
        query = request.scope["query_string"].decode("ascii")
        job = f"job-{len(self.queries)}"
        self.queries.append(query)
        self.callbacks[job] = parse_qs(query).get("fal_webhook", [""])[0]
        return JSONResponse({"status": "IN_QUEUE", "request_id": job, "queue_position": 0}, self.submit_status)

    def signed(
        self,
        job: str,
        *,
        status: str = "OK",
        account: str = ACCOUNT,
        at: float | None = None,
        key: Ed25519PrivateKey | None = None,
        **more: object,
    ) -> tuple[dict[str, str], bytes]:
        """Returns headers and body of one attempt to deliver the end of *job*."""
        message = {"request_id": job, "gateway_request_id": "attempt-2", "status": status, "payload": {"seed": 2**63}}
        body = json.dumps(message | more).encode()
        return signed(key or self.key, job, body, account=account, at=at), body


def jwk(key: Ed25519PrivateKey) -> dict[str, object]:
    x = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode("ascii")
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "x": x}


def signed(
    key: Ed25519PrivateKey, job: str, body: bytes, *, account: str = ACCOUNT, at: float | None = None
) -> dict[str, str]:
    """Signs as fal documents it, written from its text."""
    timestamp = str(int(time.time() if at is None else at))
    text = "\n".join([job, account, timestamp, hashlib.sha256(body).hexdigest()])
    return {
        "content-type": "application/json",
        "x-fal-webhook-request-id": job,
        "x-fal-webhook-user-id": account,
        "x-fal-webhook-timestamp": timestamp,
        "x-fal-webhook-signature": key.sign(text.encode()).hex(),
    }


@dataclass(frozen=True)
class Delivery:
    headers: Mapping[str, str]
    body: bytes
    status: int

    @property
    def message(self) -> dict[str, object]:
        content: dict[str, object] = json.loads(self.body)
        return content

    def is_signed(self, secret: str = SECRET) -> bool:
        """Checks as Standard Webhooks documents it, written from its text."""
        key = base64.b64decode(secret.split("_", 1)[1])
        text = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        ours = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        fresh = abs(time.time() - int(self.headers["webhook-timestamp"])) < 300
        return fresh and f"v1,{ours}" in self.headers["webhook-signature"].split(" ")


@dataclass
class App:
    """The operator's app: answers the n-th delivery with *plan(n)*, once it is *ready*.

    0 hangs until who delivers gives up.
    """

    plan: Callable[[int], int] = lambda _: 204
    url: str = ""
    deliveries: list[Delivery] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    under_way: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self.ready.set()

    def app(self, here: str) -> ASGIApp:
        self.url = f"{here}/hooks/fal"
        return Starlette(routes=[Route("/hooks/fal", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        status = self.plan(len(self.deliveries))
        self.deliveries.append(Delivery(dict(request.headers), await request.body(), status))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            if not self.ready.is_set():  # else no thread: the sandbox's pictures may have them all
                await asyncio.to_thread(self.ready.wait, PATIENCE)
            if status == 0:
                await request.receive()  # until the other side leaves
            # A redirect must not be followed: it would come back here and be counted.
            return Response(b"x" * 100_000, status or 500, headers={"location": self.url} if status == 302 else None)
        finally:
            self.under_way -= 1

    def acknowledged(self) -> list[str]:
        """Returns the acknowledged jobs, each as often as it was acknowledged."""
        return [str(one.message["request_id"]) for one in self.deliveries if 200 <= one.status < 300]


@dataclass
class Hooked:
    """A gateway with webhooks of its own between a fal and an app, its ledger in a file."""

    gateway: Gateway
    fal: Fal
    app: App
    ledger: Path

    def submit(self, subject: str = "alice") -> str:
        """Returns fal's id of a new job."""
        with self.gateway.client(subject) as client:
            answer = patiently(lambda: client.post(f"queue/{ENDPOINT}", json=INPUT))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"]).split(".")[0]

    def handle(self, job: str, subject: str = "alice") -> str:
        """Ours of *job*."""
        return self.gateway.parts.handles.sign(job, owner=caller_key(ISSUER, subject), app=APP)

    def call(
        self, url: str, headers: Mapping[str, str], body: bytes, *, method: str = "POST", source: str = "192.0.2.1"
    ) -> httpx2.Response:
        """Sends a webhook as if from *source*."""
        return patiently(lambda: self.call_once(url, headers, body, method=method, source=source))

    def call_once(
        self, url: str, headers: Mapping[str, str], body: bytes, *, method: str = "POST", source: str = "192.0.2.1"
    ) -> httpx2.Response:
        with httpx2.Client(timeout=PATIENCE, trust_env=False) as client:
            return client.request(method, url, headers={**headers, "x-forwarded-for": source}, content=body)

    def rows(self) -> list[str]:
        """Returns the rows of the ledger's file without its group number, once answered calls have no notes."""
        until(lambda: not any('INTO "note"' in row for row in self._dump()))
        return [row for row in self._dump() if 'INTO "journal"' not in row]

    def _dump(self) -> list[str]:
        with closing(sqlite3.connect(self.ledger)) as db:
            return list(db.iterdump())

    def usage(self, subject: str = "alice") -> dict[str, list[dict[str, float]]]:
        with self.gateway.client(subject) as client:
            content: dict[str, list[dict[str, float]]] = patiently(lambda: client.get("usage")).json()
        return content


def patiently(ask: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Repeats a request where the store took longer than the gateway's timeout, as on a busy machine.

    Such a request changed nothing.
    """
    give_up = time.monotonic() + PATIENCE
    while b"store_unavailable" in (answer := ask()).content and time.monotonic() < give_up:
        pass
    return answer


def hooked(rig: Rig, home: Path, *, app: App | None = None, fal: Fal | None = None, **webhooks: object) -> Hooked:
    """Starts a gateway with a fal and an app. *webhooks* are keys of the section."""
    fal, app = fal or Fal(), app or App()
    rig.enter(listening(fal.app))
    rig.enter(listening(app.app))
    ledger = home / "ledger.db"
    gateway = rig.gateway(
        fal.origin,
        environ=WEBHOOK_ENVIRON,
        server={"trusted_proxies": ["127.0.0.1"]},
        endpoints=[PRICED],
        budgets=[BUDGET],
        in_flight=[SEATS],
        ledger={"path": str(ledger)},
        webhooks={"mode": "gateway", "url": app.url, "try_seconds": 0.5, **webhooks},
    )
    return Hooked(gateway, fal, app, ledger)
