from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest

from proxy.errors import RateLimited, StoreAway
from proxy.fal_api.operations import Action
from proxy.http.client_address import address_key
from proxy.ratelimit.failed_logins import FailedLogins
from proxy.ratelimit.rate_limiter import Quota, RateLimiter, RateRule, parse_rate
from proxy.ratelimit.sliding_window import MemoryWindowStore, Remaining, WindowHit

SUBMIT_USER = RateRule("submit-user", 2, 60, "user", frozenset({Action.SUBMIT}))
SUBMIT_ADDRESS = RateRule("submit-address", 3, 60, "address", frozenset({Action.SUBMIT}))
POLL = RateRule("poll", 100, 60, "user", frozenset({Action.STATUS, Action.RESULT}))
CANCEL = RateRule("cancel", 1, 10, "user", frozenset({Action.CANCEL}))
ALICE, BOB = "a" * 64, "b" * 64


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Away:
    """A shared store that does not answer."""

    async def hit(self, claims: Sequence[WindowHit]) -> tuple[bool, Sequence[Remaining]]:
        raise StoreAway(reason="paused")

    async def undo(self, claims: Sequence[WindowHit]) -> None:
        raise StoreAway(reason="paused")


@pytest.fixture
def limiter() -> RateLimiter:
    rules = [SUBMIT_USER, SUBMIT_ADDRESS, POLL, CANCEL]
    clock = Clock()
    return RateLimiter(rules, MemoryWindowStore(rules, clock), clock)


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
    """The notation of the `limits` library gives an amount and seconds."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        *("", "30", "minute", "30/fortnight", "-5/minute", "1e3/second", "٣/minute", "30/minutexyz"),
        *("30/minute;5/second", "30/minute,5/second", "0/minute", "00/minute", "30/0 minute"),
    ],
)
def test_no_rate(text: str) -> None:
    """Nonsense, several rates and zeros are refused: a limit that cannot be read must not be one that does nothing."""
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
    """IPv6 goes by /64 and IPv4-mapped by its IPv4; what is no address stays as it is."""
    assert address_key(address) == key


async def test_the_fields_of_an_admitted_request(limiter: RateLimiter) -> None:
    """Both fields name the rules that applied, in structured-field syntax, with this request counted."""
    quota = await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")

    assert quota.headers == (
        (b"ratelimit-policy", b'"submit-user";q=2;w=60, "submit-address";q=3;w=60'),
        (b"ratelimit", b'"submit-user";r=1;t=62, "submit-address";r=2;t=62'),
    )


async def test_the_fields_of_a_refusal(limiter: RateLimiter) -> None:
    """A refusal says when there is room in the rule that refused, and which rule it was only to the log."""
    for _ in range(2):
        await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")

    with pytest.raises(RateLimited) as refusal:
        await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.10")

    assert refusal.value.headers == (
        (b"retry-after", b"62"),
        (b"ratelimit-policy", b'"submit-user";q=2;w=60, "submit-address";q=3;w=60'),
        (b"ratelimit", b'"submit-user";r=0;t=62, "submit-address";r=3;t=0'),
    )
    assert refusal.value.detail == "Too many requests; there is room again in 62 s"
    assert refusal.value.reason == "rate limit submit-user"


async def test_users_behind_one_address_share_its_rule(limiter: RateLimiter) -> None:
    """The address is counted whoever calls; IPv6 callers of one /64 are one address."""
    for user, address in ((ALICE, "2001:db8::1"), (BOB, "2001:db8::2"), (ALICE, "2001:db8::3")):
        await limiter.hit(Action.SUBMIT, user=user, address=address)

    with pytest.raises(RateLimited, match="submit-address"):
        await limiter.hit(Action.SUBMIT, user=BOB, address="2001:db8::4")


async def test_a_refused_submit_consumes_nothing(limiter: RateLimiter) -> None:
    """Refused for the user, a request leaves the address as it was."""
    for _ in range(2):
        await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")
    for _ in range(5):
        with pytest.raises(RateLimited):
            await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")

    await limiter.hit(Action.SUBMIT, user=BOB, address="203.0.113.9")


async def test_actions_are_counted_by_their_rules(limiter: RateLimiter) -> None:
    """Neither polls nor submits stand in the way of a cancel, and actions of one rule share it."""
    for _ in range(2):
        await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")
    for action in [Action.STATUS, Action.RESULT] * 50:
        await limiter.hit(action, user=ALICE, address="203.0.113.9")
    with pytest.raises(RateLimited, match="poll"):
        await limiter.hit(Action.RESULT, user=ALICE, address="203.0.113.9")

    quota = await limiter.hit(Action.CANCEL, user=ALICE, address="203.0.113.9")

    assert quota.headers[0] == (b"ratelimit-policy", b'"cancel";q=1;w=10')


async def test_an_action_without_rules(limiter: RateLimiter) -> None:
    """Where no rule applies there is nothing to say."""
    assert await limiter.hit(Action.RUN, user=ALICE, address="203.0.113.9") == Quota()


def away(*modes: Literal["deny", "local", "allow"]) -> RateLimiter:
    rules = [RateRule(f"r{i}", 1, 60, "user", frozenset({Action.SUBMIT}), mode) for i, mode in enumerate(modes)]
    return RateLimiter(rules, Away(), Clock())


@pytest.mark.parametrize("others", [(), ("local",), ("allow",)], ids=["alone", "and local", "and allow"])
async def test_away_and_denied(others: tuple[Literal["local", "allow"], ...]) -> None:
    """One rule that denies without its store is enough for a 503, each time."""
    limiter = away(*others, "deny")

    for _ in range(3):
        with pytest.raises(StoreAway):
            await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")


@pytest.mark.parametrize(("others", "rule"), [((), b'"r0"'), (("allow",), b'"r1"')], ids=["alone", "and allow"])
async def test_away_and_counted_here(others: tuple[Literal["allow"], ...], rule: bytes) -> None:
    """Local rules bound this process alone: the answer tells of them only, and they refuse when they are full."""
    limiter = away(*others, "local")

    quota = await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")

    assert quota.headers == ((b"ratelimit-policy", rule + b";q=1;w=60"), (b"ratelimit", rule + b";r=0;t=62"))
    with pytest.raises(RateLimited):
        await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")


async def test_away_and_allowed() -> None:
    """Where all rules allow it, a request passes without its store, and is told no figures."""
    limiter = away("allow", "allow")

    assert [await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9") for _ in range(3)] == [Quota()] * 3


def test_two_rules_of_one_name() -> None:
    """They would share their windows."""
    rules = [SUBMIT_USER, RateRule("submit-user", 9, 9, "address", frozenset({Action.RUN}))]

    with pytest.raises(ValueError, match="same name"):
        RateLimiter(rules, MemoryWindowStore(rules, Clock()), Clock())


def test_too_many_failed_logins() -> None:
    """After so many bad sessions an address is refused before any crypto, until they are forgotten."""
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
    """Another address is not refused for it; another host of the same IPv6 /64 is."""
    logins = FailedLogins(1, 60, Clock())
    logins.record("2001:db8::1")

    logins.check("203.0.113.9")
    logins.check("2001:db8:0:1::1")
    with pytest.raises(RateLimited):
        logins.check("2001:db8::2")


def test_good_logins_count_for_nothing() -> None:
    """Looking is free, however often."""
    logins = FailedLogins(1, 60, Clock())

    for _ in range(100):
        logins.check("203.0.113.9")


def test_failed_logins_are_bounded() -> None:
    """A flood from many addresses forgets the oldest instead of growing."""
    logins = FailedLogins(1, 60, Clock(), capacity=10)
    for i in range(11):
        logins.record(f"203.0.113.{i}")

    logins.check("203.0.113.0")
    with pytest.raises(RateLimited):
        logins.check("203.0.113.1")


async def test_a_spent_request_can_be_given_back(limiter: RateLimiter) -> None:
    """A request refused further on leaves the windows as they were."""
    before = await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")
    await limiter.undo(Action.SUBMIT, user=ALICE, address="203.0.113.9")
    await limiter.undo(Action.STATUS_STREAM, user=ALICE, address="203.0.113.9")

    assert before == await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")


async def test_giving_back_to_a_store_that_is_away_is_no_error() -> None:
    """The refusal on its way to the caller is what matters."""
    await away("allow").undo(Action.SUBMIT, user=ALICE, address="203.0.113.9")


async def test_a_rule_may_only_observe() -> None:
    """It refuses nothing, and names itself where it would have."""
    rule = RateRule("watched", 1, 60, "user", frozenset({Action.SUBMIT}), mode="observe")
    limiter = RateLimiter([rule], MemoryWindowStore([rule], Clock()), Clock())
    observed = [(await limiter.hit(Action.SUBMIT, user=ALICE, address="203.0.113.9")).observed for _ in range(3)]

    assert observed == [(), ("watched",), ("watched",)]
