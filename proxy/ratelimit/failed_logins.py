"""Count of failed logins by client address."""

from __future__ import annotations

from collections.abc import Callable

from proxy.errors import RateLimited
from proxy.http.client_address import address_key
from proxy.ratelimit.sliding_window import CAPACITY, Counts


class FailedLogins:
    """Bad sessions by client address: after *amount* of them in *seconds* a further one is not worth its crypto."""

    def __init__(self, amount: int, seconds: int, clock: Callable[[], float], *, capacity: int = CAPACITY) -> None:
        self._amount = amount
        self._clock = clock
        self._counts = Counts(seconds, capacity)

    def check(self, address: str) -> None:
        """Raises RateLimited; counts nothing."""
        now = int(self._clock() * 1000)
        window = self._counts.find(address_key(address), now)
        if window is not None and window.total >= self._amount:
            raise RateLimited(retry_after=window.reset(now), reason="failed logins from this address")

    def record(self, address: str) -> None:
        self._counts.at(address_key(address), int(self._clock() * 1000)).add()
