"""Key set of fal's webhooks: fetched when a webhook needs it, and kept.

A source that fails changes nothing.

PyJWT's PyJWKClient is not used: it blocks its thread in urllib, and reads a document of any size into memory
(tests/unit/auth/keys/test_jwks.py shows both).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Generic, TypeVar

import httpx2

from proxy.auth.keys.fetch import fetch_document
from proxy.errors import Unavailable

KeyT = TypeVar("KeyT")

MAX_SIZE = 64 * 1024  # bytes of a set
TIMEOUT = 5.0  # seconds for one fetch
SPACING = 30.0  # seconds between two fetches


class Jwks(Generic[KeyT]):
    """Keys that *read* finds in the JWK Set at *url*. *clock* in seconds, monotonic.

    *read* raises ValueError for a set that is not to be used. A set is fetched again after *max_age* seconds; where
    that fails the old one holds for as long again, and no longer. *report* gets a line after each fetch.
    """

    def __init__(
        self,
        url: str,
        read: Callable[[bytes], tuple[KeyT, ...]],
        *,
        tls: ssl.SSLContext,
        max_age: float,
        clock: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._url = url
        self._read = read
        self._tls = tls
        self._max_age = max_age
        self._clock = clock
        self._report = report
        self._keys: tuple[KeyT, ...] = ()
        self._fetched = self._last_fetch = -float("inf")
        self._task: asyncio.Task[None] | None = None

    async def keys(self) -> tuple[KeyT, ...]:
        """Returns the keys. Raises Unavailable where there is no set, or only one that is too old."""
        if self._clock() - self._fetched > self._max_age:
            await self._fetch_spaced()
        if self._clock() - self._fetched > 2 * self._max_age:
            raise Unavailable(error_type="keys_unavailable", reason=f"no key set could be had from {self._url}")
        return self._keys

    async def refresh(self) -> tuple[KeyT, ...]:
        """Fetches the set again where no key fits, at most once in SPACING seconds, and returns the keys."""
        await self._fetch_spaced()
        return self._keys

    async def _fetch_spaced(self) -> None:
        if self._task is None or self._task.done():
            if self._clock() - self._last_fetch < SPACING:
                return
            self._last_fetch = self._clock()
            self._task = asyncio.create_task(self._fetch())
        # Shielded: cancelling one waiter must not cancel the fetch of the others.
        await asyncio.shield(self._task)

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                keys = self._read(await fetch_document(self._url, tls=self._tls, max_bytes=MAX_SIZE))
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError) as error:
            self._report(f"the key set was not renewed: {type(error).__name__}: {error}")
            return
        self._keys, self._fetched = keys, self._clock()
        self._report(f"the key set has {len(keys)} keys")
