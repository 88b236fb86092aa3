from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.caller import Caller, caller_key
from proxy.billing.budgets import (
    ROLLING_BUCKETS,
    Budget,
    CalendarWindow,
    InFlightLimit,
    LifetimeWindow,
    RollingWindow,
    Tiers,
    charges,
    slots,
)
from proxy.billing.store_keys import StoreKeys

ENDPOINT = "fal-ai/hyper-sdxl/image-to-image"
DAY = CalendarWindow("day", ZoneInfo("UTC"))
BERLIN = ZoneInfo("Europe/Berlin")


def caller(subject: str = "alice", claims: dict[str, object] | None = None, *, issuer: str = "i") -> Caller:
    return Caller(issuer, subject, f"{issuer}-{subject}", frozenset(), 0.0, claims or {})


def at(*parts: int, zone: ZoneInfo | None = None) -> float:
    return datetime(*parts, tzinfo=zone or UTC).timestamp()  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("window", "now", "bucket", "renews_at"),
    [
        (DAY, at(2026, 11, 23, 23, 59, 59), 20261123, at(2026, 11, 24)),
        (DAY, at(2026, 11, 24), 20261124, at(2026, 11, 25)),
        (CalendarWindow("month", ZoneInfo("UTC")), at(2026, 12, 31, 12), 20261201, at(2027, 1, 1)),
        (CalendarWindow("month", ZoneInfo("UTC")), at(2028, 2, 29), 20280201, at(2028, 3, 1)),
        (CalendarWindow("day", BERLIN), at(2026, 11, 23, 23, 30), 20261124, at(2026, 11, 25, zone=BERLIN)),
        # The clocks go back on 25 October and forward on 29 March: days of 25 and 23 hours.
        (CalendarWindow("day", BERLIN), at(2026, 10, 25, 1), 20261025, at(2026, 10, 25) + 23 * 3600),
        (CalendarWindow("day", BERLIN), at(2026, 3, 29, 10), 20260329, at(2026, 3, 29, 22)),
    ],
    ids=["last-second", "midnight", "december", "leap", "zone", "long-day", "short-day"],
)
def test_a_calendar_window_follows_its_zone(window: CalendarWindow, now: float, bucket: int, renews_at: float) -> None:
    """The bucket is the local date it began on, and it renews at the next local midnight."""
    span = window.state(now)

    assert (span.current, span.oldest, span.renews_at) == (bucket, bucket, renews_at)
    assert span.ttl == renews_at - now


@given(st.floats(min_value=1e9, max_value=2e9), st.integers(min_value=1, max_value=720), st.floats(0, 1))
def test_a_rolling_window_never_forgets_early(now: float, hours: int, part: float) -> None:
    """A charge within the last *hours* is still counted, and its bucket is still kept."""
    window = RollingWindow(hours)
    earlier = now - part * hours * 3600 * 0.999999
    charged = window.state(earlier)

    assert charged.current >= window.state(now).oldest
    assert earlier + charged.ttl >= now


def test_a_rolling_window_forgets_in_the_end() -> None:
    """One part after its time a charge no longer counts, and the window renews part by part."""
    window, now = RollingWindow(24), at(2026, 11, 23, 12, 30)

    assert window.state(now).current < window.state(now + (ROLLING_BUCKETS + 1) * 3600).oldest
    assert window.state(now).renews_at == at(2026, 11, 23, 13)


def test_accounts_are_by_what_the_budget_is_per() -> None:
    """Users, claim values, endpoints and all: each has an account of its own."""
    budgets = [
        Budget("user", "user", DAY, 5),
        Budget("team", "claim", DAY, 5, claim="team"),
        Budget("model", "endpoint", DAY, 5),
        Budget("all", "global", DAY, 5),
    ]

    def accounts(who: Caller, endpoint: str = ENDPOINT) -> list[str]:
        return [charge.account for charge in charges(budgets, who, endpoint, at(2026, 11, 23))]

    alice, bob = accounts(caller("alice", {"team": "red"})), accounts(caller("bob", {"team": "red"}))
    assert [a == b for a, b in zip(alice, bob, strict=True)] == [False, True, True, True]
    assert accounts(caller(claims={"team": "blue"}))[1] != alice[1]
    assert accounts(caller(claims={"team": "red"}, issuer="j"))[1] != alice[1]
    assert accounts(caller(claims={"team": "red"}), "a/b")[2] != alice[2]
    assert alice[3] == "all:all"


@pytest.mark.parametrize(
    ("claims", "limit"),
    [({"plan": "free"}, 10), ({"plan": "pro"}, 100), ({"plan": "gold"}, 1), ({}, 1), ({"plan": ["pro"]}, 1)],
)
def test_a_plan_decides_the_limit(claims: dict[str, object], limit: int) -> None:
    """A tier by claim; any other value gets the plain limit."""
    budget = Budget("user", "user", DAY, 1, tiers=Tiers("plan", {"free": 10, "pro": 100}))

    assert charges([budget], caller(claims=claims), ENDPOINT, 0.0)[0].limit == limit


def test_without_a_plain_limit_an_unknown_plan_gets_nothing() -> None:
    """Deny by default."""
    budget = Budget("user", "user", DAY, None, tiers=Tiers("plan", {"pro": 100}))

    assert charges([budget], caller(), ENDPOINT, 0.0)[0].limit == 0


def test_a_budget_may_be_for_some_endpoints() -> None:
    """Others do not draw on it; observe mode is passed on."""
    only = frozenset({ENDPOINT})
    budgets = [Budget("b", "global", DAY, 1, endpoints=only, mode="observe")]
    rules = [InFlightLimit("jobs", "user", 2, 600.0, endpoints=only)]

    assert [charge.enforce for charge in charges(budgets, caller(), ENDPOINT, 0.0)] == [False]
    assert [slot.enforce for slot in slots(rules, caller(), ENDPOINT)] == [True]
    assert charges(budgets, caller(), "a/b", 0.0) == ()
    assert slots(rules, caller(), "a/b") == ()


def test_slots_are_for_a_user_or_for_all() -> None:
    """Two users share the global slots only."""
    rules = [InFlightLimit("mine", "user", 2, 600.0), InFlightLimit("ours", "global", 9, 600.0)]
    alice, bob = slots(rules, caller("alice"), ENDPOINT), slots(rules, caller("bob"), ENDPOINT)

    assert alice[0].account != bob[0].account
    assert alice[1] == bob[1]


@pytest.mark.parametrize("name", ["uploads", "realtime"])
def test_what_has_no_endpoint_must_be_named(name: str) -> None:
    """A budget or slots for all endpoints leave uploads and tokens alone.

    One that names them draws on both.
    """
    everything = Budget("all", "user", DAY, 1)
    listed = Budget("named", "user", DAY, 1, endpoints=frozenset({ENDPOINT, name}))

    assert [charge.budget for charge in charges([everything, listed], caller(), name, 0.0)] == ["named"]
    assert [charge.budget for charge in charges([everything, listed], caller(), ENDPOINT, 0.0)] == ["all", "named"]
    assert slots([InFlightLimit("jobs", "user", 1, 60)], caller(), name) == ()


@pytest.mark.parametrize(
    ("now", "bucket", "renews_at"),
    [
        (at(2026, 11, 23, 0), 20261123, at(2026, 11, 29, 23)),
        (at(2026, 11, 29, 22, 59), 20261123, at(2026, 11, 29, 23)),
        (at(2026, 11, 29, 23), 20261130, at(2026, 12, 6, 23)),
        (at(2026, 10, 25, 12), 20261019, at(2026, 10, 25, 23)),
        (at(2026, 12, 31, 12), 20261228, at(2027, 1, 3, 23)),
    ],
    ids=["monday", "sunday", "next-monday", "clock-change", "new-year"],
)
def test_a_week_begins_on_monday(now: float, bucket: int, renews_at: float) -> None:
    """The bucket is the date of the week's Monday in its zone, also over a clock change and a new year."""
    state = CalendarWindow("week", BERLIN).state(now)

    assert (state.current, state.oldest, state.renews_at) == (bucket, bucket, renews_at)


def test_a_lifetime_never_renews() -> None:
    """Decades apart it is one bucket, kept for a century, and no time brings anything back."""
    window = LifetimeWindow()
    then, later = window.state(at(2026, 1, 1)), window.state(at(2056, 1, 1))

    assert then == later
    assert then.renews_at is None
    assert then.ttl > 50 * 366 * 86_400


def test_an_address_has_an_account_of_its_own() -> None:
    """Two users behind one address share it.

    IPv6 addresses of one /64 network are one; no address is stored.
    """
    budgets = [Budget("b", "address", DAY, 5)]
    rules = [InFlightLimit("jobs", "address", 2, 600.0)]

    def accounts(subject: str, address: str) -> tuple[str, str]:
        who = caller(subject)
        (charge,) = charges(budgets, who, ENDPOINT, 0.0, address=address)
        (slot,) = slots(rules, who, ENDPOINT, address=address)
        return charge.account, slot.account

    assert accounts("alice", "192.0.2.1") == accounts("bob", "192.0.2.1")
    assert accounts("alice", "192.0.2.1") != accounts("alice", "192.0.2.2")
    assert accounts("alice", "2001:db8::1") == accounts("alice", "2001:db8::2")
    assert "192.0.2.1" not in "".join(accounts("alice", "192.0.2.1"))


def test_slots_may_be_by_claim_and_tier() -> None:
    """A team shares its slots, and a plan decides how many there are."""
    rules = [InFlightLimit("jobs", "claim", 2, 600.0, claim="team", tiers=Tiers("app.plan", {"pro": 8}))]
    pro = slots(rules, caller("alice", {"team": "red", "app.plan": "pro"}), ENDPOINT)[0]
    free = slots(rules, caller("bob", {"team": "red"}), ENDPOINT)[0]

    assert pro.account == free.account
    assert (pro.limit, free.limit) == (8, 2)


@pytest.mark.parametrize(("value", "limit"), [(True, 7), (3, 9), ("3", 9), (3.5, 1)])
def test_a_tier_is_looked_up_by_the_text_of_a_scalar(value: object, limit: int) -> None:
    """Booleans and integers are tiers as well."""
    budget = Budget("b", "user", DAY, 1, tiers=Tiers("plan", {"true": 7, "3": 9}))

    assert charges([budget], caller(claims={"plan": value}), ENDPOINT, 0.0)[0].limit == limit


def test_a_privacy_secret_hides_callers() -> None:
    """Accounts are HMACs then: other secrets give other accounts, the same secret the same."""
    budgets = [
        Budget("user", "user", DAY, 5),
        Budget("team", "claim", DAY, 5, claim="team"),
        Budget("all", "global", DAY, 5),
    ]
    who = replace(caller("alice", {"team": "red"}), key=caller_key("i", "alice"))

    def accounts(secret: bytes | None) -> list[str]:
        return [charge.account for charge in charges(budgets, who, ENDPOINT, 0.0, keys=StoreKeys(secret))]

    plain, first, second = accounts(None), accounts(b"1" * 32), accounts(b"2" * 32)
    assert [len({*each}) for each in zip(plain, first, second, strict=True)] == [3, 3, 1]
    assert accounts(b"1" * 32) == first
    assert [StoreKeys(b"1" * 32).rename(account) for account in plain] == first
