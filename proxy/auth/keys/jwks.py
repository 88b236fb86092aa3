"""Somebody else's public keys, fetched from where they publish them and kept: a source that fails changes nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Generic, TypeVar

import httpx2

from proxy import __version__
from proxy.errors import Unavailable

KeyT = TypeVar("KeyT")

MAX_SIZE = 64 * 1024  # bytes of a set
TIMEOUT = 5.0  # seconds for a whole fetch
SPACING = 30.0  # seconds between two looks at the source, whoever asks for them


class Jwks(Generic[KeyT]):
    """The keys that *read* finds in the JWK set at *url*. *clock* in seconds, monotonic.

    *read* raises ValueError for a set that is not to be used. A set is fetched anew *max_age* seconds after it was;
    where that fails the old one holds for as long again, and no longer. *report* is told how each fetch ended.
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
        self._fetched = self._looked = -float("inf")
        self._look: asyncio.Task[None] | None = None

    async def keys(self) -> tuple[KeyT, ...]:
        """Raises Unavailable where there is no set that may still be believed."""
        if self._clock() - self._fetched > self._max_age:
            await self._look_again()
        if self._clock() - self._fetched > 2 * self._max_age:
            raise Unavailable(error_type="keys_unavailable", reason=f"no key set could be had from {self._url}")
        return self._keys

    async def refresh(self) -> tuple[KeyT, ...]:
        """For when no key fits: there may be new ones. At most one look in SPACING seconds, however many ask."""
        await self._look_again()
        return self._keys

    async def _look_again(self) -> None:
        if self._look is None or self._look.done():
            if self._clock() - self._looked < SPACING:
                return
            self._looked = self._clock()
            self._look = asyncio.create_task(self._fetch())
        # One who leaves takes the others' answer with them otherwise.
        await asyncio.shield(self._look)

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                keys = self._read(await self._document())
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError) as error:
            self._report(f"the key set was not renewed: {type(error).__name__}: {error}")
            return
        self._keys, self._fetched = keys, self._clock()
        self._report(f"the key set has {len(keys)} keys")

    async def _document(self) -> bytes:
        """No redirect is followed and no environment read. Raises httpx2.HTTPError and ValueError."""
        fields = {"accept": "application/json", "accept-encoding": "identity", "user-agent": _AGENT}
        async with (
            httpx2.AsyncClient(verify=self._tls, timeout=TIMEOUT, trust_env=False, headers=fields) as client,
            client.stream("GET", self._url) as response,
        ):
            if response.status_code != 200:
                raise ValueError(f"the source answered {response.status_code}")
            document = bytearray()
            async for part in response.aiter_raw():
                document += part
                if len(document) > MAX_SIZE:
                    raise ValueError("the set is too large")
        return bytes(document)


_AGENT = f"fal-auth-proxy/{__version__}"
