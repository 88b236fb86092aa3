"""CEL rules over claims."""

from __future__ import annotations

import time

import pytest

from proxy.auth.caller import Caller
from proxy.auth.claim_rule import ClaimRule
from proxy.auth.sessions.claims import Claims
from proxy.errors import ExpressionError
from proxy.strict_json import Json

CLAIMS: dict[str, Json] = {
    "plan": "pro",
    "level": 3,
    "roles": ["beta", "user"],
    "app_metadata": {"paid": True},
    "email": "a@example.com",
}


def caller(claims: dict[str, Json]) -> Caller:
    return Caller("https://login.example", "alice", "k", frozenset(), 1e12, Claims(claims))


RULES = {
    "claims.plan == 'pro' || 'beta' in claims.roles": True,
    "claims.plan == 'free'": False,
    "claims.level >= 3 && claims.app_metadata.paid": True,
    "claims.email.endsWith('@example.com')": True,
    "has(claims.org) && claims.org == 'x'": False,
    "claims.org == 'x'": False,
    "claims.level": False,
    "claims.plan": False,
    "claims.roles.exists(r, r == 'beta')": True,
    "true": True,
    "claims.level / 0 == 1": False,
    "claims.plan > 3": False,
}


@pytest.mark.parametrize("expression", RULES)
def test_rules(expression: str) -> None:
    """Only true allows: what is false, fails, or is no truth value denies."""
    assert ClaimRule(expression).allows(caller(CLAIMS)) == RULES[expression]


@pytest.mark.parametrize("expression", ["claims.plan ==", "claim.plan == 'pro'", "", "claims.plan.matches('(a+)+')"])
def test_rules_that_do_not_compile(expression: str) -> None:
    """A rule with a mistake is refused at the start, not at the first request."""
    with pytest.raises(ExpressionError):
        ClaimRule(expression)


def test_a_rule_is_evaluated_once_a_caller() -> None:
    """The decision is kept with the claims, which never change."""
    rule, who = ClaimRule("claims.plan == 'pro'"), caller(CLAIMS)
    rule.allows(who)

    assert isinstance(who.claims, Claims)
    assert who.claims.decisions == {rule: True}
    assert not rule.allows(caller({"plan": "free"}))


def test_a_costly_rule_denies() -> None:
    """An evaluation over a whole token of list items is refused beforehand instead of taking long."""
    rule = ClaimRule("claims.roles.exists(a, claims.roles.exists(b, a != b && a == 'x'))")
    who = caller({"roles": [str(number) for number in range(900)]})
    started = time.thread_time()
    allowed = rule.allows(who)

    assert not allowed
    assert time.thread_time() - started < 0.5
