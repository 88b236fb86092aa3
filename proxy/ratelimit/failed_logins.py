"""Count of failed logins by client address."""

from __future__ import annotations

from collections.abc import Callable

from proxy.errors import RateLimited
from proxy.http.client_address import address_key
from proxy.ratelimit.sliding_window import CAPACITY, WindowTable

SPARE = 5  # verifications a second for an address over its limit


class FailedLogins:
    """Failed attempts by client address: more than *amount* of them in *seconds* are over the limit.

    *clock* in seconds, monotonic. IPv6 addresses count by their /64.
    """

    def __init__(self, amount: int, seconds: int, clock: Callable[[], float], *, capacity: int = CAPACITY) -> None:
        self._amount = amount
        self._clock = clock
        self._counts = WindowTable(seconds, capacity)

    def check(self, address: str) -> None:
        """Raises RateLimited where *address* has reached the limit; counts nothing."""
        now = int(self._clock() * 1000)
        window = self._counts.get(address_key(address), now)
        if window is not None and window.total >= self._amount:
            raise RateLimited(retry_after=window.reset(now), reason="failed logins from this address")

    def record(self, address: str) -> None:
        """Counts one failed attempt of *address*."""
        self._counts.get_or_create(address_key(address), int(self._clock() * 1000)).add()


class LoginLimit:
    """Limit of failed logins for the authenticator, counted by *failed*. *clock* in seconds, monotonic.

    An address over the limit may still have SPARE tokens a second verified. One attacker does not lock out every user
    behind the same address.
    """

    def __init__(self, failed: FailedLogins, clock: Callable[[], float], *, capacity: int = CAPACITY) -> None:
        self._failed = failed
        self._clock = clock
        self._spare = WindowTable(1, capacity)

    async def check(self, address: str) -> None:
        """Raises RateLimited where *address* is over the limit and has used its verifications of this second."""
        try:
            self._failed.check(address)
        except RateLimited:
            window = self._spare.get_or_create(address_key(address), int(self._clock() * 1000))
            if window.total >= SPARE:
                raise
            window.add()

    async def record(self, address: str) -> None:
        """Counts a failed login of *address*. Raises RateLimited where it was over the limit before."""
        self._failed.check(address)
        self._failed.record(address)
