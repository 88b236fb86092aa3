"""Short windows: how often one caller, or one client address, may do what."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import limits

from proxy.errors import RateLimited, StoreAway
from proxy.fal_api.operations import Action
from proxy.http.client_address import address_key
from proxy.ratelimit.sliding_window import MemoryWindowStore, RateLimit, Remaining, WindowHit, WindowStore


@dataclass(frozen=True, slots=True)
class RateRule(RateLimit):
    """At most *amount* requests for any of *actions* in any *seconds*, counted for each caller or client address.

    *on_store_error* says what happens while a shared store does not answer: "deny" refuses (503), "local" counts
    in this process alone, "allow" lets the request pass this rule. In *mode* "observe" it only reports what it
    would refuse.
    """

    per: Literal["user", "address"]
    actions: frozenset[Action]
    on_store_error: Literal["deny", "local", "allow"] = "deny"
    mode: Literal["enforce", "observe"] = "enforce"


def parse_rate(text: str) -> tuple[int, int]:
    """Amount and seconds of one rate in the notation of the `limits` library: "30/minute", "5 per 2 hours".

    Raises ValueError for anything else, several rates and zeros included.
    """
    rates = limits.parse_many(text)
    # The library reads "30/0 minute" as 30/minute.
    if len(rates) != 1 or re.search(r"(?<!\d)0+(?!\d)", text):
        raise ValueError(f"not one rate above zero: {text!r}")
    return rates[0].amount, rates[0].get_expiry()


class Quota(NamedTuple):
    """What an admitted request leaves its caller, as the response fields that say so.

    *observed* names the rules in observe mode that would have refused.
    """

    headers: tuple[tuple[bytes, bytes], ...] = ()
    observed: tuple[str, ...] = ()


class ActionLimits:
    """The rules for one action, with what can be written of their response fields beforehand."""

    def __init__(self, rules: Iterable[RateRule]) -> None:
        self.rules = tuple(rules)
        policy = ", ".join(f'"{rule.name}";q={rule.amount};w={rule.seconds}' for rule in self.rules)
        self._policy = (b"ratelimit-policy", policy.encode())
        self._standing = ", ".join(f'"{rule.name}";r=%d;t=%d' for rule in self.rules).encode()

    def hits(self, user: str, address: str) -> list[WindowHit]:
        place = address_key(address)
        return [(rule, user if rule.per == "user" else place) for rule in self.rules]

    async def hit(self, body: WindowStore, user: str, address: str) -> Quota:
        """Raises RateLimited and StoreAway."""
        return self.quota(*await body.hit(self.hits(user, address))) if self.rules else Quota()

    async def would_refuse(self, body: WindowStore, user: str, address: str) -> tuple[str, ...]:
        """Names of the rules without room. A request is counted in all of them or in none. Raises StoreAway."""
        if not self.rules:
            return ()
        admitted, standings = await body.hit(self.hits(user, address))
        full = [rule.name for rule, (left, _) in zip(self.rules, standings, strict=True) if not left]
        return () if admitted else tuple(full)

    def quota(self, admitted: bool, standings: Sequence[Remaining]) -> Quota:
        """The fields of draft-ietf-httpapi-ratelimit-headers-10; its `t` is when there will be more.

        Raises RateLimited.
        """
        headers = (self._policy, (b"ratelimit", self._standing % tuple(chain.from_iterable(standings))))
        if admitted:
            return Quota(headers)
        full = [(rule.name, reset) for rule, (left, reset) in zip(self.rules, standings, strict=True) if not left]
        wait = max(reset for _, reset in full)
        raise RateLimited(
            f"Too many requests; there is room again in {wait} s",
            retry_after=wait,
            reason="rate limit " + ", ".join(name for name, _ in full),
            headers=headers,
        )


class RateLimiter:
    """Spends a request in the windows of every rule for its action. *clock* in seconds, monotonic.

    Raises ValueError for two rules of one name.
    """

    def __init__(self, rules: Sequence[RateRule], body: WindowStore, clock: Callable[[], float]) -> None:
        if len({rule.name for rule in rules}) < len(rules):
            raise ValueError("two rules have the same name")
        enforced = [rule for rule in rules if rule.mode == "enforce"]
        local = [rule for rule in enforced if rule.on_store_error == "local"]
        self._body = body
        self._here = MemoryWindowStore(local, clock)
        self._plans = _limits_by_action(enforced)
        self._degraded = _limits_by_action(local)
        self._watched = _limits_by_action(rule for rule in rules if rule.mode == "observe")
        self._denied = frozenset(
            chain.from_iterable(rule.actions for rule in enforced if rule.on_store_error == "deny")
        )

    async def hit(self, action: Action, *, user: str, address: str) -> Quota:
        """Counts one request of *user* (a caller's key) from *address* (IP text), or raises and counts nothing.

        Raises RateLimited, and StoreAway where a rule for *action* denies without its store.
        """
        plan = self._plans[action]
        watched = self._watched[action]
        try:
            quota = await plan.hit(self._body, user, address)
            observed = await watched.would_refuse(self._body, user, address) if watched.rules else ()
        except StoreAway:
            if action in self._denied:
                raise
            return await self._degraded[action].hit(self._here, user, address)
        return Quota(quota.headers, observed) if observed else quota

    async def undo(self, action: Action, *, user: str, address: str) -> None:
        """Undoes one `spend` for a request that was refused further on, where the store can be reached."""
        plan = self._plans[action]
        if plan.rules:
            with suppress(StoreAway):
                await self._body.undo(plan.hits(user, address))


def _limits_by_action(rules: Iterable[RateRule]) -> dict[Action, ActionLimits]:
    listed = tuple(rules)
    return {action: ActionLimits(rule for rule in listed if action in rule.actions) for action in Action}
