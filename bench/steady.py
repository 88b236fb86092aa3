"""Latency at 70 % of a contender's own peak, against the upstream itself at the same rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from bench.arrivals import Latencies, arrive
from bench.rig import Rig
from bench.roster import PER_USER, Kind
from bench.rounds import Running
from bench.workload import Requests, body, direct_poll, direct_submit

SHARE = 0.7
SECONDS = 2


@dataclass(frozen=True, slots=True)
class Steady:
    """Latencies at a fixed rate. *direct* is without a proxy, at the upstream's plain port."""

    contender: str
    round: int
    kind: str
    rate: float
    through: Latencies
    direct: Latencies


def steady(
    field: Sequence[Running],
    rig: Rig,
    peaks: Mapping[tuple[str, str], float],
    *,
    count: int,
    random: Random,
    say: Callable[[str], None],
) -> Iterator[Steady]:
    """Measures latencies at a share of *peaks*, which are requests a second by contender and kind."""
    direct: dict[Kind, bytes] = {"poll": direct_poll(rig.fal_key), "submit": direct_submit(rig.fal_key, body(0, 0))}
    visits = [(running, kind) for running in field for kind, _ in PER_USER]
    for number in range(1, count + 1):
        for running, kind in random.sample(visits, len(visits)):
            name = running.contender.name
            rate = SHARE * peaks[name, kind]
            say(f"latency, round {number} of {count}: {name}, {kind} at {rate:.0f}/s")
            seed, requests = random.random(), running.requests[kind, "per-user"]
            plain = [direct[kind]] * int(rate * SECONDS)
            yield Steady(
                contender=name,
                round=number,
                kind=kind,
                rate=rate,
                through=_measured(running.server.port, requests, rate, seed),
                direct=arrive(rig.plain, plain, rate=rate, random=Random(seed)),
            )


def _measured(port: int, requests: Requests, rate: float, seed: float) -> Latencies:
    """Measures after one second at the same rate, so that idleness before it does not count."""
    arrive(port, requests.take(int(rate)), rate=rate, random=Random(seed))
    return arrive(port, requests.take(int(rate * SECONDS)), rate=rate, random=Random(seed))
