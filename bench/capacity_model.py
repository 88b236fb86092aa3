"""Model of capacity: workers and memory of a load, from the cost of one unit of each kind. Pure.

A request costs an idle worker more than a busy one, because it must be woken for it. Where a worker uses the share u
of a core, a request at a random moment finds it idle with the probability 1 - u. So
u = idle + rate * (busy + (1 - u) * wake), which is solved for u.
"""

from __future__ import annotations

from dataclasses import dataclass

FULL = 0.6  # share of a core up to which a worker is loaded; the rest is for bursts and other work
_MICROSECONDS = 1_000_000
_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Load of a deployment: *polls* and *submits* a second, *streams* and *open_jobs* at one time."""

    polls: float = 0.0
    submits: float = 0.0
    streams: int = 0
    open_jobs: int = 0


@dataclass(frozen=True, slots=True)
class RequestCost:
    """CPU of one request in us: of a *busy* worker, and what an idle one takes more to *wake*."""

    busy: float
    wake: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Costs of one unit.

    *idle* and *stream* are CPU in us of each second. *base* is MiB of a worker without load. *stream_memory* and
    *job_memory* are KiB of a worker for a stream and an open job. *job_store* is KiB of the store for an open job.
    """

    idle: float
    poll: RequestCost
    submit: RequestCost
    base: float
    stream: float = 0.0
    stream_memory: float = 0.0
    job_memory: float = 0.0
    job_store: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Load of one kind on one worker: requests a second, and the share of its core that it used."""

    rate: float
    share: float


@dataclass(frozen=True, slots=True)
class Needs:
    """Needs of a load: busy *cores*, *workers*, *memory* of all workers and *store*, both in MiB."""

    cores: float
    workers: int
    memory: float
    store: float


def needs(load: Workload, costs: Costs, *, full: float = FULL) -> Needs:
    """Returns the needs of *load*.

    Each worker may use the share *full* of a core, which is more than an idle one uses.
    """
    workers = 1
    while (share := used(load, costs, workers)) > full:
        workers += 1
    memory = workers * costs.base + (load.streams * costs.stream_memory + load.open_jobs * costs.job_memory) / _KIB
    return Needs(
        cores=workers * share,
        workers=workers,
        memory=memory,
        store=load.open_jobs * costs.job_store / _KIB,
    )


def used(load: Workload, costs: Costs, workers: int) -> float:
    """Returns the share of a core that each of *workers* uses."""
    busy = load.polls * costs.poll.busy + load.submits * costs.submit.busy + load.streams * costs.stream
    wake = load.polls * costs.poll.wake + load.submits * costs.submit.wake
    each = workers * _MICROSECONDS
    return (costs.idle / _MICROSECONDS + (busy + wake) / each) / (1 + wake / each)


def request_cost(paced: Measured, crowded: Measured, idle: float) -> RequestCost:
    """Returns the cost of a request from two loads of one kind; *idle* is in us of each second.

    In the crowded one always some requests wait, so the worker is woken for none.
    """
    calm, busy = ((_MICROSECONDS * one.share - idle) / one.rate for one in (paced, crowded))
    return RequestCost(busy, max(0.0, (calm - busy) / (1 - paced.share)))


def error(predicted: float, measured: float) -> float:
    """Returns the error of a prediction as a share of what was measured."""
    return (predicted - measured) / measured
