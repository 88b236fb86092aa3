"""Posting to the app: a few quick tries, and the app's word for it. Whoever sent us the news repeats it otherwise."""

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


class Verdict(StrEnum):
    """What the app said: it has it, or it wants no more of it (410)."""

    DELIVERED = "delivered"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Schedule:
    """*tries* of *seconds* each; the pause between them doubles from *pause*. *wait* for the first. All in seconds."""

    tries: int = 3
    seconds: float = 3.0
    pause: float = 0.25
    wait: float = 2.0

    @property
    def whole(self) -> float:
        """The longest that one delivery can take."""
        return self.wait + self.tries * self.seconds + self.pause * (2.0 ** (self.tries - 1) - 1)


class Deliveries:
    """To *url*, at most *concurrency* at once. *clock*: unix seconds, for the signatures."""

    def __init__(
        self,
        url: str,
        signature: AppSignature,
        schedule: Schedule,
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

    async def deliver(self, message_id: str, body: bytes) -> Verdict:
        """Raises Overloaded, and Unavailable where the app did not take it."""
        try:
            async with asyncio.timeout(self._schedule.wait):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Overloaded(reason="as many deliveries are under way as there may be") from error
        try:
            return await self._deliver(message_id, body)
        finally:
            self._slots.release()

    async def _deliver(self, message_id: str, body: bytes) -> Verdict:
        said = ""
        for attempt in range(self._schedule.tries):
            if attempt:
                await asyncio.sleep(self._schedule.pause * 2.0 ** (attempt - 1))
            status, said = await self._post(message_id, body)
            if 200 <= status < 300:
                return Verdict.DELIVERED
            if status == 410:
                return Verdict.GONE
        raise Unavailable(error_type="undelivered", reason=f"the app did not take it: {said}")

    async def _post(self, message_id: str, body: bytes) -> tuple[int, str]:
        """Its status, 0 for none, and a word on it. A redirect is an answer like any other; no body is read."""
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
