"""Verification keys that an identity provider publishes, fetched ahead of need."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import httpx2

from proxy.auth.keys.fetch import TIMEOUT, fetch_document, jwks_url_from_discovery
from proxy.auth.keys.key_cache import MAX_STALE, CachedDocument, KeyCache, MemoryKeyCache
from proxy.auth.keys.key_document import MAX_DOCUMENT, KeyDocument
from proxy.auth.keys.key_file import describe_change
from proxy.auth.keys.verification_key import VerificationKey
from proxy.errors import StoreAway, Unavailable

REFRESH_INTERVAL = 300.0  # seconds from one fetch to the next
RETRY_INTERVAL = 30.0  # seconds at most until a failed fetch is tried again
RESERVE = 2  # fetches for unknown kids that may follow each other at once
REGAIN = 30.0  # seconds in which one of them is regained
UNKNOWN_TTL = 2.0  # seconds for which a kid that a fetch did not bring is not looked for again
_MAX_UNKNOWN = 1_000  # kids

_PATH = "/.well-known/openid-configuration"
_AWAY = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError)  # a TimeoutError is an OSError


class JwksSource:
    """Place of a key set: *url*, or the `jwks_uri` that the OpenID configuration of *issuer* names."""

    def __init__(self, *, url: str | None, issuer: str, tls: ssl.SSLContext) -> None:
        self._url = url
        self._issuer = issuer
        self._tls = tls

    @property
    def name(self) -> str:
        """The URL that an operator knows this source by."""
        return self._url or self._issuer.rstrip("/") + _PATH

    async def fetch(self) -> bytes:
        """Returns the key document. Raises httpx2.HTTPError, ValueError and TimeoutError after 5 s."""
        async with asyncio.timeout(TIMEOUT):
            url = self._url
            if url is None:
                metadata = await fetch_document(self.name, tls=self._tls, max_bytes=MAX_DOCUMENT)
                url = jwks_url_from_discovery(metadata, self._issuer)
            return await fetch_document(url, tls=self._tls, max_bytes=MAX_DOCUMENT)


class RemoteKeys:
    """Keys that *parse* finds in the document of *source*.

    *clock* is monotonic, *now* gives seconds since the epoch. *report* gets a line for each change and each failure.
    A failed fetch leaves the last good set, for MAX_STALE seconds after its own fetch; *cache* keeps it over a restart.
    """

    shared_secret = False

    def __init__(
        self,
        source: JwksSource,
        parse: Callable[[bytes], KeyDocument],
        *,
        cache: KeyCache | None = None,
        clock: Callable[[], float],
        now: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self.source = source
        self._parse = parse
        self.cache = cache or MemoryKeyCache()
        self._clock = clock
        self._now = now
        self._report = report
        self._random = Random()  # noqa: S311 spreads the fetches of several processes
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched = -float("inf")
        self._task: asyncio.Task[bool] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._reserve, self._regained = float(RESERVE), clock()
        self._unknown: dict[str, float] = {}
        self._tried = asyncio.Event()
        self._failing = False
        self.version = 0
        self.fetches = 0
        self.failures = 0

    @property
    def age(self) -> float:
        """Seconds since the last good fetch; infinite without one."""
        return max(0.0, self._now() - self._fetched)

    @property
    def loaded(self) -> bool:
        """True once there has been a good set."""
        return bool(self._keys)

    @property
    def state(self) -> str:
        """A word on the set for `/readyz`; it names no host."""
        if not self.loaded:
            return "missing"
        if not self.usable:
            return "too old"
        return "not refreshed; the last good set holds" if self._failing else "ok"

    @property
    def usable(self) -> bool:
        """True where there is a set that is not too old."""
        return bool(self._keys) and self.age <= MAX_STALE

    def start(self) -> None:
        """Starts the task that loads the cached set and keeps the keys fresh, on the running event loop."""
        if self._loop is None:
            self._loop = asyncio.create_task(self._keep_fresh())

    async def aclose(self) -> None:
        """Stops the tasks."""
        for task in (self._loop, self._task):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._loop = self._task = None

    async def current(self) -> Sequence[VerificationKey]:
        """Returns the keys of the last good set; the first call may wait for the first fetch.

        Raises Unavailable.
        """
        if not self._keys:
            # A host that does not run the lifespan starts the task here; later calls do not wait for its retries.
            self.start()
            await self._tried.wait()
        if not self.usable:
            raise Unavailable(error_type="keys_unavailable", reason=f"no key set could be had from {self.source.name}")
        return self._keys

    async def refresh(self, kid: str) -> bool:
        """Fetches the set for the unknown *kid*, unless that was just done or the reserve is used up.

        Returns True for a kid of the set, whose key has another algorithm. An unknown one may still be published.
        """
        # A known kid with another algorithm than its key's must not use up the reserve.
        if any(key.kid == kid for key in self._keys):
            return True
        if self._unknown.get(kid, 0.0) > self._clock():
            return False
        if (self._task is None or self._task.done()) and not self._take_reserve():
            return False
        fresh = await self._shared_fetch()
        if fresh and all(key.kid != kid for key in self._keys):
            self._remember_unknown(kid)
        return False

    def _take_reserve(self) -> bool:
        now = self._clock()
        self._reserve = min(float(RESERVE), self._reserve + (now - self._regained) / REGAIN)
        self._regained = now
        if self._reserve < 1:
            return False
        self._reserve -= 1
        return True

    def _remember_unknown(self, kid: str) -> None:
        if len(self._unknown) >= _MAX_UNKNOWN:
            self._unknown.clear()
        self._unknown[kid] = self._clock() + UNKNOWN_TTL

    async def _shared_fetch(self) -> bool:
        """Joins the fetch under way, or starts one. Returns True where it brought a good set."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._fetch())
        # Shielded: a caller that leaves must not cancel the fetch of the others.
        return await asyncio.shield(self._task)

    async def _fetch(self) -> bool:
        self.fetches += 1
        try:
            material = await self.source.fetch()
            document = self._parse(material)
        except _AWAY as error:
            self.failures += 1
            self._failing = True
            self._report(f"{self.source.name} was not read: {type(error).__name__}: {error}")
            return False
        finally:
            self._tried.set()
        self._failing = False
        self._install(document, self._now())
        await self._save(material)
        return True

    def _install(self, document: KeyDocument, fetched: float) -> None:
        if {key.thumbprint() for key in self._keys} != {key.thumbprint() for key in document.keys}:
            self._report(f"{self.source.name}: {describe_change(self._keys, document)}")
            self.version += 1
        self._keys, self._fetched = document.keys, fetched
        self._unknown.clear()
        self._tried.set()

    async def _save(self, material: bytes) -> None:
        try:
            await self.cache.save(self.source.name, CachedDocument(self._fetched, material))
        except (OSError, StoreAway, ValueError) as error:
            self._report(f"the keys of {self.source.name} could not be cached: {error}")

    async def _load(self) -> None:
        try:
            cached = await self.cache.load(self.source.name)
            document = None if cached is None else self._parse(cached.document)
        except (OSError, StoreAway, ValueError) as error:
            self._report(f"the cached keys of {self.source.name} could not be read: {error}")
            return
        if cached is not None and document is not None and not self._keys and self._now() - cached.fetched <= MAX_STALE:
            self._install(document, cached.fetched)

    async def _keep_fresh(self) -> None:
        await self._load()
        failures = 0
        while True:
            good = await self._shared_fetch()
            failures = 0 if good else failures + 1
            # Without a set the gateway is not ready, so the first retries come soon.
            retry = RETRY_INTERVAL if self.usable else min(RETRY_INTERVAL, 2.0 ** (failures - 1))
            interval = REFRESH_INTERVAL if good else retry
            await asyncio.sleep(interval * self._random.uniform(0.8, 1.0))
