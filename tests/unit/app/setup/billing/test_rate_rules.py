"""Tests of the rules that [[limits]] tables become."""

from __future__ import annotations

import pytest

from proxy.app.setup.billing.allowances import build_rate_rule
from proxy.config.sections.limits import Limit
from proxy.ratelimit.rate_limiter import LimitedRequest
from proxy.ratelimit.sliding_window import RateLimit

LISTED = frozenset({"fal-ai/one", "fal-ai/two"})


def limit(**fields: object) -> Limit:
    return Limit.model_validate({"name": "l", "per": "user", "actions": ["submit"], "rate": "5/minute", **fields})


def test_a_rule_has_endpoints_claim_and_tiers() -> None:
    """A table's endpoints, claim and tiers decide which window a request counts in."""
    tiers = {"tiers": {"pro": "50/hour"}, "tier_claim": "plan"}
    table = limit(per="claim", claim="org", endpoints=["fal-ai/one"], actions=["refused"], **tiers)
    rule = build_rate_rule(table, LISTED)
    claims = {"org": "red", "plan": "pro"}
    request = LimitedRequest("u", "203.0.113.9", "fal-ai/one", "issuer", lambda path: claims.get(path, ""))

    assert rule.actions == {"refused"}
    assert rule.hit(request) == (RateLimit("l", 50, 3600), "issuer\0red")
    assert rule.endpoints == {"fal-ai/one"}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        pytest.param({"per": "claim"}, "go together", id="no claim"),
        pytest.param({"claim": "org"}, "go together", id="a claim that is not counted"),
        pytest.param({"tiers": {"pro": "9/minute"}}, "go together", id="tiers without a claim"),
        pytest.param({"tier_claim": "plan"}, "go together", id="a claim without tiers"),
        pytest.param({"endpoints": ["fal-ai/on"]}, "fal-ai/one", id="an endpoint that is not listed"),
    ],
)
def test_parts_that_do_not_go_together(fields: dict[str, object], problem: str) -> None:
    """A table whose parts contradict each other is refused by name."""
    with pytest.raises(ValueError, match=problem):
        build_rate_rule(limit(**fields), LISTED)
