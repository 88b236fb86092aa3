import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from proxy.errors import RateLimited, StoreAway
from proxy.fal_api.operations import Action
from proxy.http.client_address import address_key
from proxy.ratelimit.failed_logins import SPARE, FailedLogins, LoginLimit
from proxy.ratelimit.rate_limiter import REFUSED, LimitedRequest, Quota, RateLimiter, RateRule, parse_rate
from proxy.ratelimit.sliding_window import MemoryWindowStore, RateLimit, Remaining, WindowHit

SUBMIT_USER = RateRule("submit-user", 2, 60, "user", frozenset({Action.SUBMIT}))
SUBMIT_ADDRESS = RateRule("submit-address", 3, 60, "address", frozenset({Action.SUBMIT}))
POLL = RateRule("poll", 100, 60, "user", frozenset({Action.STATUS, Action.RESULT}))
CANCEL = RateRule("cancel", 1, 10, "user", frozenset({Action.CANCEL}))
ALICE, BOB = "a" * 64, "b" * 64


def alice(address: str, endpoint: str = "") -> LimitedRequest:
    return LimitedRequest(ALICE, address, endpoint)


def bob(address: str) -> LimitedRequest:
    return LimitedRequest(BOB, address)


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Away:
    """Shared store that does not answer."""

    async def hit(self, hits: Sequence[WindowHit]) -> tuple[bool, Sequence[Remaining]]:
        raise StoreAway(reason="paused")

    async def undo(self, hits: Sequence[WindowHit]) -> None:
        raise StoreAway(reason="paused")


@pytest.fixture
def limiter() -> RateLimiter:
    rules = [SUBMIT_USER, SUBMIT_ADDRESS, POLL, CANCEL]
    clock = Clock()
    return RateLimiter(rules, MemoryWindowStore(clock), clock)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("30/minute", (30, 60)),
        ("1200/minute", (1200, 60)),
        ("5 per 2 hours", (5, 7200)),
        ("10/day", (10, 86_400)),
        ("100 / second", (100, 1)),
    ],
)
def test_a_rate(text: str, rate: tuple[int, int]) -> None:
    """A rate in the notation of the `limits` library is an amount and seconds."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        *("", "30", "minute", "30/fortnight", "-5/minute", "1e3/second", "٣/minute", "30/minutexyz"),
        *("30/minute;5/second", "30/minute,5/second", "0/minute", "00/minute", "30/0 minute"),
    ],
)
def test_no_rate(text: str) -> None:
    """Invalid text, several rates and zeros are refused, so that no unreadable limit passes all requests."""
    with pytest.raises(ValueError, match=r"rate|granularity"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:cb00:7109", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unix:", "unix:"),
        ("", ""),
    ],
)
def test_what_an_address_counts_as(address: str, key: str) -> None:
    """IPv6 addresses count by their /64, IPv4-mapped ones by their IPv4; other text is used as it is."""
    assert address_key(address) == key


async def test_the_fields_of_an_admitted_request(limiter: RateLimiter) -> None:
    """Both response fields name the rules that applied, with this request counted (RFC 9651)."""
    quota = await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))

    assert quota.headers == (
        (b"ratelimit-policy", b'"submit-user";q=2;w=60, "submit-address";q=3;w=60'),
        (b"ratelimit", b'"submit-user";r=1;t=60, "submit-address";r=2;t=60'),
    )


async def test_the_fields_of_a_refusal(limiter: RateLimiter) -> None:
    """A refusal has the time until there is room, and names the rule for the log only."""
    for _ in range(2):
        await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))

    with pytest.raises(RateLimited) as refusal:
        await limiter.hit(Action.SUBMIT, alice("203.0.113.10"))

    assert refusal.value.headers == (
        (b"retry-after", b"62"),
        (b"ratelimit-policy", b'"submit-user";q=2;w=60, "submit-address";q=3;w=60'),
        (b"ratelimit", b'"submit-user";r=0;t=60, "submit-address";r=3;t=0'),
    )
    assert refusal.value.detail == "Too many requests; there is room again in 62 s"
    assert refusal.value.reason == "rate limit submit-user"


async def test_users_behind_one_address_share_its_rule(limiter: RateLimiter) -> None:
    """All users of one address share its window, and IPv6 addresses of one /64 are one address."""
    for user, address in ((ALICE, "2001:db8::1"), (BOB, "2001:db8::2"), (ALICE, "2001:db8::3")):
        await limiter.hit(Action.SUBMIT, LimitedRequest(user, address))

    with pytest.raises(RateLimited, match="submit-address"):
        await limiter.hit(Action.SUBMIT, bob("2001:db8::4"))


async def test_a_refused_submit_consumes_nothing(limiter: RateLimiter) -> None:
    """A request that the user's window refuses is not counted for its address."""
    for _ in range(2):
        await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))
    for _ in range(5):
        with pytest.raises(RateLimited):
            await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))

    await limiter.hit(Action.SUBMIT, bob("203.0.113.9"))


async def test_actions_are_counted_by_their_rules(limiter: RateLimiter) -> None:
    """Polls and submits do not delay a cancel, and actions of one rule share its window."""
    for _ in range(2):
        await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))
    for action in [Action.STATUS, Action.RESULT] * 50:
        await limiter.hit(action, alice("203.0.113.9"))
    with pytest.raises(RateLimited, match="poll"):
        await limiter.hit(Action.RESULT, alice("203.0.113.9"))

    quota = await limiter.hit(Action.CANCEL, alice("203.0.113.9"))

    assert quota.headers[0] == (b"ratelimit-policy", b'"cancel";q=1;w=10')


async def test_an_action_without_rules(limiter: RateLimiter) -> None:
    """A request without a rule gets no response fields."""
    assert await limiter.hit(Action.RUN, alice("203.0.113.9")) == Quota()


def away(*modes: Literal["deny", "local", "allow"]) -> RateLimiter:
    rules = [RateRule(f"r{i}", 1, 60, "user", frozenset({Action.SUBMIT}), mode) for i, mode in enumerate(modes)]
    return RateLimiter(rules, Away(), Clock())


@pytest.mark.parametrize("others", [(), ("local",), ("allow",)], ids=["alone", "and local", "and allow"])
async def test_away_and_denied(others: tuple[Literal["local", "allow"], ...]) -> None:
    """One rule that denies without its store refuses every request with 503."""
    limiter = away(*others, "deny")

    for _ in range(3):
        with pytest.raises(StoreAway):
            await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))


@pytest.mark.parametrize(("others", "rule"), [((), b'"r0"'), (("allow",), b'"r1"')], ids=["alone", "and allow"])
async def test_away_and_counted_here(others: tuple[Literal["allow"], ...], rule: bytes) -> None:
    """Local rules count in this process: response fields name only them, and they refuse when full."""
    limiter = away(*others, "local")

    quota = await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))

    assert quota.headers == ((b"ratelimit-policy", rule + b";q=1;w=60"), (b"ratelimit", rule + b";r=0;t=60"))
    with pytest.raises(RateLimited):
        await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))


async def test_away_and_allowed() -> None:
    """A request passes without its store if all rules allow that, and gets no response fields."""
    limiter = away("allow", "allow")

    assert [await limiter.hit(Action.SUBMIT, alice("203.0.113.9")) for _ in range(3)] == [Quota()] * 3


def test_two_rules_of_one_name() -> None:
    """Two rules of one name are refused, because they would share their windows."""
    rules = [SUBMIT_USER, RateRule("submit-user", 9, 9, "address", frozenset({Action.RUN}))]

    with pytest.raises(ValueError, match="same name"):
        RateLimiter(rules, MemoryWindowStore(Clock()), Clock())


def test_too_many_failed_logins() -> None:
    """An address with too many failed logins is refused until the oldest one is forgotten."""
    clock = Clock()
    logins = FailedLogins(3, 60, clock)
    for _ in range(3):
        logins.check("203.0.113.9")
        logins.record("203.0.113.9")

    with pytest.raises(RateLimited) as refusal:
        logins.check("203.0.113.9")
    clock.now += 62
    logins.check("203.0.113.9")

    assert refusal.value.headers == ((b"retry-after", b"62"),)


def test_failed_logins_of_others() -> None:
    """Failed logins of an address do not count for others, except for hosts of the same IPv6 /64."""
    logins = FailedLogins(1, 60, Clock())
    logins.record("2001:db8::1")

    logins.check("203.0.113.9")
    logins.check("2001:db8:0:1::1")
    with pytest.raises(RateLimited):
        logins.check("2001:db8::2")


def test_good_logins_count_for_nothing() -> None:
    """A check counts nothing."""
    logins = FailedLogins(1, 60, Clock())

    for _ in range(100):
        logins.check("203.0.113.9")


def test_failed_logins_are_bounded() -> None:
    """A full table forgets the oldest address."""
    logins = FailedLogins(1, 60, Clock(), capacity=10)
    for i in range(11):
        logins.record(f"203.0.113.{i}")

    logins.check("203.0.113.0")
    with pytest.raises(RateLimited):
        logins.check("203.0.113.1")


async def test_a_request_can_be_taken_back(limiter: RateLimiter) -> None:
    """A request that was refused later leaves the windows as they were."""
    before = await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))
    await limiter.undo(Action.SUBMIT, alice("203.0.113.9"))
    await limiter.undo(Action.STATUS_STREAM, alice("203.0.113.9"))

    assert before == await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))


async def test_an_undo_while_the_store_is_away() -> None:
    """An undo that the store does not take raises nothing."""
    await away("allow").undo(Action.SUBMIT, alice("203.0.113.9"))


async def test_a_rule_may_only_observe() -> None:
    """A rule in observe mode refuses nothing, and is named where it would have refused."""
    rule = RateRule("watched", 1, 60, "user", frozenset({Action.SUBMIT}), mode="observe")
    limiter = RateLimiter([rule], MemoryWindowStore(Clock()), Clock())
    observed = [(await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))).observed for _ in range(3)]

    assert observed == [(), ("watched",), ("watched",)]


def submit_rule(name: str, amount: int = 1, **fields: object) -> RateRule:
    return replace(RateRule(name, amount, 60, "user", frozenset({Action.SUBMIT})), **fields)  # type: ignore[arg-type]


async def test_a_rule_for_some_endpoints() -> None:
    """A rule with endpoints counts requests for these only, all in one window."""
    rule = submit_rule("video", 2, endpoints=frozenset({"v/1", "v/2"}))
    limiter = RateLimiter([rule], MemoryWindowStore(Clock()), Clock())
    for endpoint in ("v/1", "v/2", "x/1", "x/1"):
        await limiter.hit(Action.SUBMIT, alice("203.0.113.9", endpoint))

    with pytest.raises(RateLimited, match="video"):
        await limiter.hit(Action.SUBMIT, alice("203.0.113.9", "v/1"))


async def test_a_rule_for_each_claim_value() -> None:
    """Users with one value of the claim share its window; the same value of another issuer has its own."""
    limiter = RateLimiter([submit_rule("team", per="claim", claim="org.team")], MemoryWindowStore(Clock()), Clock())

    async def hit(user: str, issuer: str, team: str) -> None:
        claims = {"org.team": team}
        request = LimitedRequest(user, "203.0.113.9", "", issuer, lambda path: claims.get(path, ""))
        await limiter.hit(Action.SUBMIT, request)

    for user, issuer, team in ((ALICE, "one", "red"), (ALICE, "two", "red"), (ALICE, "one", "blue")):
        await hit(user, issuer, team)
    with pytest.raises(RateLimited, match="team"):
        await hit(BOB, "one", "red")


async def test_tiers_have_rates_of_their_own() -> None:
    """A caller's tier sets amount and seconds; other callers get the rule's rate."""
    tiers = {"pro": RateLimit("plan", 3, 60), "max": RateLimit("plan", 2, 1)}
    limiter = RateLimiter([submit_rule("plan", tier_claim="plan", tiers=tiers)], MemoryWindowStore(Clock()), Clock())

    async def admitted(plan: str) -> tuple[int, bytes]:
        request = LimitedRequest(plan, "203.0.113.9", claim=lambda path: plan)
        results = [await asyncio.gather(limiter.hit(Action.SUBMIT, request), return_exceptions=True) for _ in range(9)]
        quotas = [result for (result,) in results if isinstance(result, Quota)]
        return len(quotas), dict(quotas[0].headers)[b"ratelimit-policy"]

    assert [await admitted(plan) for plan in ("pro", "max", "free")] == [
        (3, b'"plan";q=3;w=60'),
        (2, b'"plan";q=2;w=1'),
        (1, b'"plan";q=1;w=60'),
    ]


REFUSED_USER = RateRule("refused-user", 3, 60, "user", frozenset({REFUSED}))


async def test_refused_payloads_have_a_window_of_their_own() -> None:
    """Once it is full, this process refuses the caller before the next body is read, until there is room."""
    clock = Clock()
    limiter = RateLimiter([SUBMIT_USER, REFUSED_USER], MemoryWindowStore(clock), clock)
    for _ in range(3):
        limiter.check_refused(alice("203.0.113.9"))
        await limiter.hit(Action.SUBMIT, alice("203.0.113.9"))
        await limiter.undo(Action.SUBMIT, alice("203.0.113.9"))
        await limiter.count_refused(alice("203.0.113.9"))

    with pytest.raises(RateLimited) as refusal:
        limiter.check_refused(alice("203.0.113.9"))
    limiter.check_refused(bob("203.0.113.9"))
    assert refusal.value.reason == "rate limit refused-user"
    clock.now += 63
    limiter.check_refused(alice("203.0.113.9"))


async def test_refused_payloads_of_another_worker() -> None:
    """A worker learns from its next refused payload that the shared window is full."""
    clock = Clock()
    shared = MemoryWindowStore(clock)
    first, second = [RateLimiter([REFUSED_USER], shared, clock) for _ in range(2)]
    for _ in range(3):
        await first.count_refused(alice("203.0.113.9"))
    second.check_refused(alice("203.0.113.9"))
    with pytest.raises(RateLimited):
        await second.count_refused(alice("203.0.113.9"))

    with pytest.raises(RateLimited):
        second.check_refused(alice("203.0.113.9"))


async def test_refused_payloads_while_the_store_is_away() -> None:
    """Without the store this process counts refused payloads alone."""
    limiter = RateLimiter([REFUSED_USER], Away(), Clock())
    for _ in range(3):
        await limiter.count_refused(alice("203.0.113.9"))

    with pytest.raises(RateLimited):
        await limiter.count_refused(alice("203.0.113.9"))


async def test_failed_logins_are_shared() -> None:
    """Failed logins count over all workers; an address over the limit has a few checks a second."""
    clock = Clock()
    shared = MemoryWindowStore(clock)
    first, second = [LoginLimit(3, 60, clock, store=shared) for _ in range(2)]
    for limit in (first, second, first):
        await limit.check("203.0.113.9")
        await limit.record("203.0.113.9")
    with pytest.raises(RateLimited):
        await second.record("203.0.113.9")
    for _ in range(SPARE):
        await second.check("203.0.113.9")
    with pytest.raises(RateLimited):
        await second.check("203.0.113.9")
    await second.check("203.0.113.10")
    clock.now += 63

    await second.check("203.0.113.9")
    await second.record("203.0.113.9")


async def test_failed_logins_while_the_store_is_away() -> None:
    """Without the store this process counts failed logins alone."""
    limit = LoginLimit(2, 60, Clock(), store=Away())
    for _ in range(2):
        await limit.record("203.0.113.9")

    with pytest.raises(RateLimited):
        await limit.record("203.0.113.9")
