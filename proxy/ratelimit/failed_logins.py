"""Count of failed logins by client address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from proxy.errors import RateLimited, StoreAway
from proxy.http.client_address import address_key
from proxy.ratelimit.sliding_window import CAPACITY, MemoryWindowStore, RateLimit, WindowStore, WindowTable

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
            raise _too_many(window.reset(now))

    def record(self, address: str) -> None:
        """Counts one failed attempt of *address*."""
        now = int(self._clock() * 1000)
        self._counts.get_or_create(address_key(address), now).hit(now)


class LoginLimit:
    """Limit of failed logins for the authenticator: *amount* in *seconds* for each address.

    They are counted in *store*. Without a store, and while it does not answer, this process counts alone. A good login
    costs no call of the store: this process knows from its replies which addresses are over the limit.

    An address over the limit may still have SPARE tokens a second verified. One attacker does not lock out every user
    behind the same address. *clock* in seconds, monotonic.
    """

    def __init__(
        self,
        amount: int,
        seconds: int,
        clock: Callable[[], float],
        *,
        store: WindowStore | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        self._limit = RateLimit("failed-logins", amount, seconds)
        self._clock = clock
        self._local = MemoryWindowStore(clock, capacity=capacity)
        self._store = store or self._local
        self._spare = WindowTable(1, capacity)
        self._capacity = capacity
        self._full: OrderedDict[str, float] = OrderedDict()  # addresses over the limit, and when there is room again

    async def check(self, address: str) -> None:
        """Raises RateLimited where *address* is over the limit and has used its verifications of this second."""
        key, now = address_key(address), self._clock()
        reset = self._full.get(key, 0.0)
        if reset <= now:
            return
        window = self._spare.get_or_create(key, int(now * 1000))
        if window.total >= SPARE:
            raise _too_many(int(reset - now) + 1)
        window.hit(int(now * 1000))

    async def record(self, address: str) -> None:
        """Counts a failed login of *address*. Raises RateLimited where it was over the limit before."""
        key = address_key(address)
        try:
            admitted, ((left, reset),) = await self._store.hit([(self._limit, key)])
        except StoreAway:
            admitted, ((left, reset),) = await self._local.hit([(self._limit, key)])
        if not left:
            self._full[key] = self._clock() + reset
            self._full.move_to_end(key)
        if len(self._full) > self._capacity:
            self._full.popitem(last=False)
        if not admitted:
            raise _too_many(reset)


def _too_many(wait: int) -> RateLimited:
    return RateLimited(retry_after=wait, reason="failed logins from this address", limit=("rate", "failed-logins"))
