"""Limits of requests in short windows, for each caller, client address or claim value."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

import limits

from proxy.errors import RateLimited, StoreAway
from proxy.http.client_address import address_key
from proxy.limit_modes import Mode, OnStoreError
from proxy.ratelimit.sliding_window import CAPACITY, MemoryWindowStore, RateLimit, Remaining, WindowHit, WindowStore

REFUSED = "refused"  # the action of payloads that were refused, in a rule's *actions*
REFUSED_PAYLOAD = frozenset({400, 413, 415, 422})  # status codes of refused payloads


@dataclass(slots=True)
class LimitedRequest:
    """Request as the limits see it.

    *user* is the caller's key in stores, *address* the client's IP address as text. *endpoint* is the endpoint as
    called. *claim* returns the text of a claim by its dotted path, "" where the caller has none; *issuer* keeps the
    claim values of issuers apart.
    """

    user: Final[str]
    address: Final[str]
    endpoint: Final[str] = ""
    issuer: Final[str] = ""
    claim: Final[Callable[[str], str]] = lambda path: ""


@dataclass(frozen=True, slots=True)
class RateRule(RateLimit):
    """Limit of *amount* requests for any of *actions* in any *seconds*.

    *per* names the subject that is counted; "claim" counts each value of *claim*. With *endpoints* only requests for
    these count. *tiers* replaces amount and seconds by the value of *tier_claim*.

    *on_store_error* is the effect while a shared store does not answer: "deny" refuses (503), "local" counts in this
    process alone, "allow" ignores the rule. In *mode* "observe" the rule only reports what it would refuse.
    """

    per: Literal["user", "address", "claim"]
    actions: frozenset[str]
    on_store_error: OnStoreError = "deny"
    mode: Mode = "enforce"
    endpoints: frozenset[str] = frozenset()
    claim: str = ""
    tier_claim: str = ""
    tiers: Mapping[str, RateLimit] = field(default_factory=dict)

    def hit(self, request: LimitedRequest) -> WindowHit:
        """Returns the limit of the request's tier, and the key of its window."""
        limit = self.tiers.get(request.claim(self.tier_claim), self) if self.tiers else self
        match self.per:
            case "user":
                return limit, request.user
            case "address":
                return limit, address_key(request.address)
            case "claim":
                return limit, f"{request.issuer}\0{request.claim(self.claim)}"


def parse_rate(text: str) -> tuple[int, int]:
    """Returns amount and seconds of one rate in the notation of the `limits` library.

    An example is "5 per 2 hours". Raises ValueError for anything else, several rates and zeros included.
    """
    rates = limits.parse_many(text)
    # The library reads "30/0 minute" as 30/minute.
    if len(rates) != 1 or re.search(r"(?<!\d)0+(?!\d)", text):
        raise ValueError(f"not one rate above zero: {text!r}")
    return rates[0].amount, rates[0].get_expiry()


@dataclass(slots=True)
class Quota:
    """Response fields of an admitted request that describe its windows.

    *observed* names the rules in observe mode that would have refused.
    """

    headers: Final[tuple[tuple[bytes, bytes], ...]] = ()
    observed: Final[tuple[str, ...]] = ()


_NO_QUOTA = Quota()


class RateLimiter:
    """Counts requests in the windows of every rule for their action. *clock* in seconds, monotonic.

    Raises ValueError for two rules of one name.
    """

    def __init__(self, rules: Sequence[RateRule], store: WindowStore, clock: Callable[[], float]) -> None:
        if len({rule.name for rule in rules}) < len(rules):
            raise ValueError("two rules have the same name")
        self._store = store
        self._clock = clock
        self._local_store = MemoryWindowStore(clock)
        self._enforced = _by_action(rule for rule in rules if rule.mode == "enforce")
        self._observed = _by_action(rule for rule in rules if rule.mode == "observe")
        self._full: OrderedDict[tuple[str, str], float] = OrderedDict()  # windows of refused payloads, and their resets

    async def hit(self, action: str, request: LimitedRequest) -> Quota:
        """Counts one request in all windows, or raises and counts it in none.

        Raises RateLimited, and StoreAway where a rule for *action* denies without its store.
        """
        rules = _select(self._enforced, action, request)
        watched = _select(self._observed, action, request) if self._observed else ()
        hits = [rule.hit(request) for rule in rules]
        try:
            quota = _quota(hits, *await self._store.hit(hits)) if hits else _NO_QUOTA
            observed = await self._would_refuse(watched, request) if watched else ()
        except StoreAway:
            if any(rule.on_store_error == "deny" for rule in rules):
                raise
            local = [rule.hit(request) for rule in rules if rule.on_store_error == "local"]
            return _quota(local, *await self._local_store.hit(local)) if local else _NO_QUOTA
        return Quota(quota.headers, observed) if observed else quota

    async def undo(self, action: str, request: LimitedRequest) -> None:
        """Takes back one `hit` of a request that was refused later, where the store can be reached."""
        rules = _select(self._enforced, action, request)
        if rules:
            with suppress(StoreAway):
                await self._store.undo([rule.hit(request) for rule in rules])

    def hit_payload(self, action: str, request: LimitedRequest) -> Awaitable[Quota]:
        """Counts a request whose body is not read yet. Raises as `hit` and `check_refused`."""
        if self._full:
            self.check_refused(request)
        return self.hit(action, request)

    async def refuse(self, action: str, request: LimitedRequest, status: int) -> None:
        """Takes back a `hit` of a request that is refused with *status*.

        A refused payload counts in windows of its own. Raises RateLimited where these have no room.
        """
        await self.undo(action, request)
        if status in REFUSED_PAYLOAD:
            await self.count_refused(request)

    def check_refused(self, request: LimitedRequest) -> None:
        """Raises RateLimited where this process knows that a window of refused payloads is full."""
        now = self._clock()
        for rule in _select(self._enforced, REFUSED, request):
            reset = self._full.get((rule.name, rule.hit(request)[1]), 0.0)
            if reset > now:
                raise _refused_too_often(rule, int(reset - now) + 1)

    async def count_refused(self, request: LimitedRequest) -> None:
        """Counts a refused payload. Raises RateLimited where their windows had no room for it."""
        rules = _select(self._enforced, REFUSED, request)
        if not rules:
            return
        hits = [rule.hit(request) for rule in rules]
        try:
            admitted, remaining = await self._store.hit(hits)
        except StoreAway:
            admitted, remaining = await self._local_store.hit(hits)
        full = [
            (rule, key, reset) for rule, (_, key), (left, reset) in zip(rules, hits, remaining, strict=True) if not left
        ]
        for rule, key, reset in full:
            self._note_full(rule, key, reset)
        if not admitted:
            rule, _, reset = full[0]
            raise _refused_too_often(rule, reset)

    def _note_full(self, rule: RateRule, key: str, reset: int) -> None:
        self._full[rule.name, key] = self._clock() + reset
        self._full.move_to_end((rule.name, key))
        if len(self._full) > CAPACITY:
            self._full.popitem(last=False)

    async def _would_refuse(self, rules: Sequence[RateRule], request: LimitedRequest) -> tuple[str, ...]:
        """Returns the names of the rules without room. Raises StoreAway."""
        admitted, remaining = await self._store.hit([rule.hit(request) for rule in rules])
        full = [rule.name for rule, (left, _) in zip(rules, remaining, strict=True) if not left]
        return () if admitted else tuple(full)


def _quota(hits: Sequence[WindowHit], admitted: bool, remaining: Sequence[Remaining]) -> Quota:
    """Returns what the windows of *hits* have left. Raises RateLimited where one of them was full."""
    headers = _headers(hits, remaining)
    if admitted:
        return Quota(headers)
    full = [(bound.name, reset) for (bound, _), (left, reset) in zip(hits, remaining, strict=True) if not left]
    wait, names = max(reset for _, reset in full), [name for name, _ in full]
    raise RateLimited(
        f"Too many requests; there is room again in {wait} s",
        retry_after=wait,
        reason="rate limit " + ", ".join(names),
        headers=headers,
        limit=("rate", *names),
    )


def _headers(hits: Sequence[WindowHit], remaining: Sequence[Remaining]) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the fields of draft-ietf-httpapi-ratelimit-headers-10; `t` is the time until more.

    A count is forgotten up to one slice late. `t` ends at the window all the same, as clients expect.
    """
    keys: list[tuple[str, int, int]] = []
    numbers: list[int] = []
    for (bound, _), (left, reset) in zip(hits, remaining, strict=True):  # a generator takes 1 us more
        seconds = bound.seconds
        keys.append((bound.name, bound.amount, seconds))
        numbers += left, reset if reset <= seconds else seconds
    policy, state = _templates(tuple(keys))
    return policy, (b"ratelimit", state % tuple(numbers))


@lru_cache(maxsize=1024)
def _templates(bounds: tuple[tuple[str, int, int], ...]) -> tuple[tuple[bytes, bytes], bytes]:
    """Returns the field with the policies, and a template for the value of the field with what is left."""
    policy = ", ".join(f'"{name}";q={amount};w={seconds}' for name, amount, seconds in bounds)
    return (b"ratelimit-policy", policy.encode()), ", ".join(f'"{name}";r=%d;t=%d' for name, _, _ in bounds).encode()


def _refused_too_often(rule: RateRule, wait: int) -> RateLimited:
    return RateLimited(
        f"Too many refused requests; try again in {wait} s",
        retry_after=wait,
        reason=f"rate limit {rule.name}",
        limit=("rate", rule.name),
    )


def _by_action(rules: Iterable[RateRule]) -> Mapping[str, tuple[RateRule, ...]]:
    by_action: dict[str, tuple[RateRule, ...]] = {}
    for rule in rules:
        for action in rule.actions:
            by_action[action] = (*by_action.get(action, ()), rule)
    return by_action


def _select(rules: Mapping[str, tuple[RateRule, ...]], action: str, request: LimitedRequest) -> Sequence[RateRule]:
    listed = rules.get(action, ())
    for rule in listed:
        if rule.endpoints and request.endpoint not in rule.endpoints:
            return [one for one in listed if not one.endpoints or request.endpoint in one.endpoints]
    return listed
