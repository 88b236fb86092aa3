from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import AsyncIterator

import httpx2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from support.sandbox import KEY, MODEL, QUICK, bound, client, origin, running, served, until

from proxy.sandbox.app import create_sandbox

FAST = dataclasses.replace(
    QUICK, webhook_attempts=4, webhook_backoff=0.01, webhook_backoff_max=0.02, webhook_seconds=0.3
)


@dataclasses.dataclass
class WebhookReceiver:
    """Receiver that answers with *statuses* in turn, then 200; 0 never answers."""

    url: str
    statuses: list[int]
    deliveries: list[tuple[dict[str, str], bytes]] = dataclasses.field(default_factory=list)

    async def receive(self, request: Request) -> Response:
        self.deliveries.append((dict(request.headers), await request.body()))
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            await asyncio.sleep(60)
        return Response(status_code=status, headers={"location": self.url} if status == 302 else None)


@contextlib.asynccontextmanager
async def a_hook(*statuses: int) -> AsyncIterator[WebhookReceiver]:
    (listener,) = bound()
    hook = WebhookReceiver(f"{origin(listener)}/hook", list(statuses))
    async with served({listener: Starlette(routes=[Route("/hook", hook.receive, methods=["POST"])])}):
        yield hook


def verified(jwks: dict[str, list[dict[str, str]]], headers: dict[str, str], body: bytes) -> bool:
    """Verifies as fal documents it, written from its text."""
    message = "\n".join(
        [
            headers["x-fal-webhook-request-id"],
            headers["x-fal-webhook-user-id"],
            headers["x-fal-webhook-timestamp"],
            hashlib.sha256(body).hexdigest(),
        ]
    ).encode("utf-8")
    for key in jwks["keys"]:
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "=="))
        with contextlib.suppress(InvalidSignature):
            public.verify(bytes.fromhex(headers["x-fal-webhook-signature"]), message)
            return True
    return False


async def test_a_finished_job_is_delivered_and_signed() -> None:
    """The delivery has status OK and the output, and its signature passes fal's documented check."""
    async with running(FAST) as rig, a_hook() as hook, httpx2.AsyncClient(headers=KEY) as http:
        job = await http.post(f"{rig.queue}/acme/echo", params={"fal_webhook": hook.url}, json={"a": 1})
        await until(lambda: hook.deliveries)
        jwks = (await http.get(f"{rig.rest}/.well-known/jwks.json")).json()

    ((headers, body),) = hook.deliveries
    message = json.loads(body)
    assert message.pop("gateway_request_id") != job.json()["request_id"]
    assert message == {
        "request_id": job.json()["request_id"],
        "status": "OK",
        "payload": {"endpoint": "acme/echo", "input": {"a": 1}},
    }
    assert headers["x-fal-webhook-request-id"] == job.json()["request_id"]
    assert abs(int(headers["x-fal-webhook-timestamp"]) - time.time()) < 60
    assert verified(jwks, headers, body)
    assert not verified(jwks, headers, body + b" ")
    assert not verified(jwks, headers | {"x-fal-webhook-timestamp": "1"}, body)


async def test_a_failed_job_is_delivered_as_an_error() -> None:
    """The delivery has status ERROR, the code in words, and the model's detail as payload."""
    async with running(FAST) as rig, a_hook() as hook, httpx2.AsyncClient(headers=KEY) as http:
        await http.post(f"{rig.queue}/{MODEL}", params={"fal_webhook": hook.url}, json={"prompt": "x"})
        await until(lambda: hook.deliveries)

    message = json.loads(hook.deliveries[0][1])
    assert (message["status"], message["error"]) == ("ERROR", "Invalid status code: 422")
    assert message["payload"]["detail"][0]["loc"] == ["body", "image_url"]


@pytest.mark.parametrize(
    ("statuses", "deliveries"),
    [((200,), 1), ((500, 404, 204), 3), ((0, 200), 2), ((302,), 1), ((500,) * 9, 4)],
    ids=["acknowledged", "errors", "no answer", "redirect", "given up"],
)
async def test_deliveries_are_retried_until_acknowledged(statuses: tuple[int, ...], deliveries: int) -> None:
    """Errors and silence are retried with the same body; a redirect is final; attempts are limited."""
    async with running(FAST) as rig, a_hook(*statuses) as hook, httpx2.AsyncClient(headers=KEY) as http:
        before = asyncio.all_tasks()
        await http.post(f"{rig.queue}/acme/echo", params={"fal_webhook": hook.url}, json={})
        await until(lambda: len(hook.deliveries) >= deliveries)
        await until(lambda: not [task for task in asyncio.all_tasks() - before if "_deliver" in repr(task)])

    assert len(hook.deliveries) == deliveries
    assert len({body for _, body in hook.deliveries}) == 1


async def test_a_refused_delivery_is_retried_until_the_close() -> None:
    """A refused connection is retried; closing the sandbox ends the attempts."""
    (listener,) = bound()
    unused = origin(listener)
    listener.close()
    before = asyncio.all_tasks()
    sandbox = create_sandbox(dataclasses.replace(QUICK, webhook_backoff=30))
    http = client(sandbox.queue)
    await http.post("/acme/echo", params={"fal_webhook": unused}, json={})
    await until(lambda: [task for task in asyncio.all_tasks() - before if "_deliver" in repr(task)])

    await sandbox.close()

    assert asyncio.all_tasks() == before


async def test_a_seed_fixes_the_key() -> None:
    """The same 32 bytes give the same JWKS; without them the key is new."""
    seeded = dataclasses.replace(QUICK, webhook_seed=bytes(32))

    async def x(settings: object) -> str:
        assert isinstance(settings, type(seeded))
        answer = await client(create_sandbox(settings).rest, {}).get("/.well-known/jwks.json")
        (key,) = answer.json()["keys"]
        assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
        return str(key["x"])

    assert await x(seeded) == await x(seeded)
    assert await x(QUICK) != await x(QUICK)
