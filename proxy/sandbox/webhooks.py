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
from proxy.sandbox.responses import dump_json, new_id

USER_ID = "sandbox-user"


class Signer:
    """Ed25519 signer of deliveries. *seed*: the 32 bytes of the private key, None for a new key."""

    def __init__(self, seed: bytes | None) -> None:
        self._key = Ed25519PrivateKey.generate() if seed is None else Ed25519PrivateKey.from_private_bytes(seed)

    def jwks(self) -> dict[str, object]:
        """Returns the public key as a JWK set."""
        public = self._key.public_key().public_bytes_raw()
        x = base64.urlsafe_b64encode(public).rstrip(b"=").decode("ascii")
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "sandbox-1", "x": x}]}

    def headers(self, request_id: str, body: bytes, *, now: float) -> dict[str, str]:
        """Returns the headers of a delivery.

        The signed text is request id, user id, unix seconds and the body's SHA-256 in hexadecimal, one a line.
        """
        timestamp = str(int(now))
        text = "\n".join([request_id, USER_ID, timestamp, hashlib.sha256(body).hexdigest()])
        return {
            "content-type": "application/json",
            "x-fal-webhook-request-id": request_id,
            "x-fal-webhook-user-id": USER_ID,
            "x-fal-webhook-timestamp": timestamp,
            "x-fal-webhook-signature": self._key.sign(text.encode()).hex(),
        }


@dataclass(frozen=True, slots=True)
class Retries:
    """Retry schedule in seconds.

    *seconds*: limit of one attempt. The wait doubles from *backoff* to *backoff_max*.
    """

    attempts: int
    seconds: float
    backoff: float
    backoff_max: float


class Webhooks:
    """Background deliveries."""

    def __init__(self, signer: Signer, retries: Retries, *, clock: Callable[[], float]) -> None:
        self._signer = signer
        self._retries = retries
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def deliver(self, job: Job) -> None:
        """Starts the delivery of an ended job to its webhook, where it has one."""
        if job.webhook is None or job.outcome is None:
            return
        task = asyncio.get_running_loop().create_task(
            self._deliver(job.webhook, job.request_id, _webhook_body(job.request_id, job.outcome))
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancels every pending delivery."""
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
                if await _post(client, url, body, headers):
                    return


async def _post(client: httpx2.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Returns True where no retry follows: a 2xx acknowledges, and a redirect fails for good."""
    try:
        response = await client.post(url, content=body, headers=headers)
    except httpx2.HTTPError:
        return False
    return response.status_code < 400


def _webhook_body(request_id: str, outcome: Outcome) -> bytes:
    # fal's `gateway_request_id` is the id of the last attempt and differs from `request_id`.
    message: dict[str, object] = {"request_id": request_id, "gateway_request_id": new_id(), "status": "OK"}
    if outcome.error is not None:
        message |= {"status": "ERROR", "error": f"Invalid status code: {outcome.status}"}
    return dump_json(message | {"payload": json.loads(outcome.body)})
