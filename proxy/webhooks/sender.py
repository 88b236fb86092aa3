"""Sender of webhooks to the app, with a few quick retries. fal retries its own webhook otherwise."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import httpx2

from proxy import __version__
from proxy.errors import Overloaded, Unavailable
from proxy.webhooks.standard_webhooks import AppSignature


class DeliveryResult(StrEnum):
    """Result of a delivery: taken by the app, or refused for good (410)."""

    DELIVERED = "delivered"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Retries: *tries* of *seconds* each, with pauses that double from *pause*, after *wait* for a slot."""

    tries: int = 3
    seconds: float = 3.0
    pause: float = 0.25
    wait: float = 2.0

    @property
    def total_seconds(self) -> float:
        """Longest time of one delivery."""
        return self.wait + self.tries * self.seconds + self.pause * (2.0 ** (self.tries - 1) - 1)


class WebhookSender:
    """Sender to *url*, at most *concurrency* at once. *clock*: unix seconds, for the signatures."""

    def __init__(
        self,
        url: str,
        signature: AppSignature,
        schedule: RetrySchedule,
        *,
        concurrency: int,
        tls: ssl.SSLContext,
        clock: Callable[[], float],
    ) -> None:
        self._url = url
        self._signature = signature
        self._schedule = schedule
        self._slots = asyncio.Semaphore(concurrency)
        self._clock = clock
        # No connection is kept: one that the app has just closed would lose a delivery, and time.
        self._client = httpx2.AsyncClient(
            verify=tls,
            timeout=schedule.seconds,
            trust_env=False,
            limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=0),
            headers={"accept": "*/*", "accept-encoding": "identity", "user-agent": f"fal-auth-proxy/{__version__}"},
        )

    async def deliver(self, message_id: str, body: bytes) -> DeliveryResult:
        """Delivers one message. Raises Overloaded, and Unavailable where the app did not take it."""
        try:
            async with asyncio.timeout(self._schedule.wait):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Overloaded(reason="too many deliveries are under way") from error
        try:
            return await self._deliver(message_id, body)
        finally:
            self._slots.release()

    async def _deliver(self, message_id: str, body: bytes) -> DeliveryResult:
        problem = ""
        for attempt in range(self._schedule.tries):
            if attempt:
                await asyncio.sleep(self._schedule.pause * 2.0 ** (attempt - 1))
            status, problem = await self._post(message_id, body)
            if 200 <= status < 300:
                return DeliveryResult.DELIVERED
            if status == 410:
                return DeliveryResult.GONE
        raise Unavailable(error_type="delivery_failed", reason=f"the app did not take it: {problem}")

    async def _post(self, message_id: str, body: bytes) -> tuple[int, str]:
        """Returns the status, 0 for none, and a description. Redirects are not followed; no body is read."""
        fields = [(b"content-type", b"application/json"), *self._signature.headers(message_id, body, now=self._clock())]
        try:
            async with (
                asyncio.timeout(self._schedule.seconds),
                self._client.stream("POST", self._url, content=body, headers=fields) as response,
            ):
                return response.status_code, f"it answered {response.status_code}"
        except (httpx2.HTTPError, TimeoutError) as error:
            return 0, type(error).__name__

    async def aclose(self) -> None:
        await self._client.aclose()
