"""Tests of the capacity model of the bench."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.capacity_model import Costs, Measured, Needs, RequestCost, Workload, error, needs, request_cost, used

COSTS = Costs(
    idle=10_000,
    poll=RequestCost(100, 0),
    submit=RequestCost(300, 0),
    stream=50,
    base=80,
    stream_memory=32,
    job_memory=2,
    job_store=4,
)


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (Workload(), Needs(0.01, 1, 80.0, 0.0)),
        (Workload(polls=1000), Needs(0.11, 1, 80.0, 0.0)),
        (Workload(polls=1000, submits=1000), Needs(0.41, 1, 80.0, 0.0)),
        (Workload(polls=4900), Needs(0.5, 1, 80.0, 0.0)),
        (Workload(polls=4901), Needs(0.5101, 2, 160.0, 0.0)),
        (Workload(streams=1024), Needs(0.0612, 1, 112.0, 0.0)),
        (Workload(open_jobs=5120), Needs(0.01, 1, 90.0, 20.0)),
        (Workload(polls=7350, streams=512, open_jobs=512), Needs(0.7806, 2, 177.0, 2.0)),
    ],
)
def test_needs(load: Workload, expected: Needs) -> None:
    """A load needs the sum of its parts, in whole workers of which each is loaded up to its share."""
    found = needs(load, COSTS, full=0.5)
    assert found.workers == expected.workers
    assert (found.cores, found.memory, found.store) == pytest.approx((expected.cores, expected.memory, expected.store))


def test_a_request_costs_an_idle_worker_more() -> None:
    """Only requests that find a worker idle wake it, so twice the load takes less than twice the CPU."""
    costs = replace(COSTS, idle=0, poll=RequestCost(100, 900))
    assert used(Workload(polls=1000), costs, 1) == pytest.approx(1.0 / 1.9)
    assert used(Workload(polls=2000), costs, 1) == pytest.approx(2.0 / 2.8)
    assert used(Workload(polls=2000), costs, 2) == pytest.approx(1.0 / 1.9)


def test_costs_of_two_loads_predict_the_paced_one() -> None:
    """The crowded load has the cost of a busy worker, and the rest of the paced one's is for waking."""
    paced, crowded = Measured(300, 0.3), Measured(5000, 0.51)
    cost = request_cost(paced, crowded, COSTS.idle)
    assert cost.busy == pytest.approx(100)
    assert used(Workload(polls=300), replace(COSTS, poll=cost), 1) == pytest.approx(0.3)


def test_error_is_a_share_of_the_measured_value() -> None:
    """A prediction that is too high has a positive error, as a share of what was measured."""
    assert error(125, 100) == pytest.approx(0.25)
    assert error(80, 100) == pytest.approx(-0.2)
