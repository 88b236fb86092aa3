"""Signed deliveries of finished jobs (fal docs, webhooks)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.sandbox.jobs import Job, Outcome
from proxy.sandbox.replies import dump, new_id

USER_ID = "sandbox-user"


class Signer:
    """*seed*: the private key's 32 bytes, None for a new key."""

    def __init__(self, seed: bytes | None) -> None:
        self._key = Ed25519PrivateKey.generate() if seed is None else Ed25519PrivateKey.from_private_bytes(seed)

    def jwks(self) -> dict[str, object]:
        public = self._key.public_key().public_bytes_raw()
        x = base64.urlsafe_b64encode(public).rstrip(b"=").decode("ascii")
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "sandbox-1", "x": x}]}

    def headers(self, request_id: str, body: bytes, *, now: float) -> dict[str, str]:
        """Over request id, user id, unix seconds and the body's SHA-256 in hex, one a line."""
        timestamp = str(int(now))
        signed = "\n".join([request_id, USER_ID, timestamp, hashlib.sha256(body).hexdigest()])
        return {
            "content-type": "application/json",
            "x-fal-webhook-request-id": request_id,
            "x-fal-webhook-user-id": USER_ID,
            "x-fal-webhook-timestamp": timestamp,
            "x-fal-webhook-signature": self._key.sign(signed.encode()).hex(),
        }


@dataclass(frozen=True, slots=True)
class Retries:
    """*seconds* for one answer; the wait doubles from *backoff* to *backoff_max*."""

    attempts: int
    seconds: float
    backoff: float
    backoff_max: float


class Webhooks:
    def __init__(self, signer: Signer, retries: Retries, *, clock: Callable[[], float]) -> None:
        self._signer = signer
        self._retries = retries
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def announce(self, job: Job) -> None:
        """Delivers in the background to the job's webhook, where it has one."""
        if job.webhook is None or job.outcome is None:
            return
        task = asyncio.get_running_loop().create_task(
            self._deliver(job.webhook, job.request_id, _body(job.request_id, job.outcome))
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Gives up what is not delivered yet."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, url: str, request_id: str, body: bytes) -> None:
        wait = self._retries.backoff
        async with httpx2.AsyncClient(timeout=self._retries.seconds, trust_env=False) as client:
            for attempt in range(self._retries.attempts):
                if attempt:
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, self._retries.backoff_max)
                headers = self._signer.headers(request_id, body, now=self._clock())
                if await _settled(client, url, body, headers):
                    return


async def _settled(client: httpx2.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether there is nothing to retry: 2xx acknowledges, and a redirect fails for good."""
    try:
        answer = await client.post(url, content=body, headers=headers)
    except httpx2.HTTPError:
        return False
    return answer.status_code < 400


def _body(request_id: str, outcome: Outcome) -> bytes:
    # The gateway's id is that of the last attempt, so it differs from the request's.
    message: dict[str, object] = {"request_id": request_id, "gateway_request_id": new_id(), "status": "OK"}
    if outcome.error is not None:
        message |= {"status": "ERROR", "error": f"Invalid status code: {outcome.status}"}
    return dump(message | {"payload": json.loads(outcome.body)})
