from __future__ import annotations

import pytest

from proxy.app.setup.billing.allowances import build_settlement_policy
from proxy.billing.settlement_policy import SettlementPolicy
from proxy.config.sections.endpoints import Endpoint
from proxy.config.sections.ledger import LedgerSection
from proxy.upstream.job_end import JobEnd

BILLABLE = LedgerSection(settle_by="billable", unit_price=2)


def policy(**prices: float | None) -> SettlementPolicy:
    """The policy of endpoints `acme/<name>` with these unit prices."""
    endpoints = [Endpoint(id=f"acme/{name.replace('_', '/')}", unit_price=price) for name, price in prices.items()]
    return build_settlement_policy(BILLABLE, endpoints)


def test_billable_units_have_the_price_of_their_app() -> None:
    """The unit price of an endpoint is used for its app's jobs, else that of the ledger."""
    settled = policy(video=0.5, image=None)

    assert settled.amount_due(JobEnd(units=3), "acme/video") == 1_500_000
    assert settled.amount_due(JobEnd(units=3), "acme/image") == 6_000_000
    assert settled.amount_due(JobEnd(units=3), "acme/other") == 6_000_000


def test_endpoints_of_one_app_share_a_unit_price() -> None:
    """fal reports the units of a job by its app, so two prices would be a guess."""
    assert policy(video=0.5, video_fast=0.5).unit_prices == {"acme/video": 0.5}
    with pytest.raises(ValueError, match="acme/video must have one unit_price"):
        policy(video=0.5, video_fast=0.7)
    with pytest.raises(ValueError, match="acme/video must have one unit_price"):
        policy(video=0.5, video_fast=None)


@pytest.mark.parametrize(("refund_failed", "due"), [(True, 0), (False, None)])
def test_a_job_that_was_cancelled_while_it_ran_costs_what_a_failed_one_does(
    refund_failed: bool, due: int | None
) -> None:
    """One that was cancelled in the queue costs nothing."""
    settled = SettlementPolicy(refund_failed=refund_failed)

    assert settled.amount_due(JobEnd(cancelled=True, failed=True), "acme/video") == due
    assert settled.amount_due(JobEnd(cancelled=True), "acme/video") == 0
