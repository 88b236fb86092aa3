"""Figures of the raw slices: medians over the rounds with their range, and the promised ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.roster import ALL, ROSTER, Cell
from bench.rounds import Slice
from bench.workload import WARM_UP

GATEWAY, HONO, HAPROXY = "gateway", "server-proxy, Hono", "HAProxy"

# The gateway's CPU a request is promised to be at most this many times the other's.
PROMISES: Mapping[tuple[str, Cell], float] = {
    (HONO, ("poll", "per-user")): 1 / 3,
    (HONO, ("submit", "per-user")): 1 / 4,
    (HONO, ("poll", "fresh")): 2 / 3,
    (HONO, ("submit", "fresh")): 1 / 2,
    (HAPROXY, ("poll", "per-user")): 4.0,
    (HAPROXY, ("submit", "per-user")): 6.0,
}


FULL = 0.9  # of the contender's core
DISTURBED = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    median: float
    low: float
    high: float

    def text(self, digits: int = 1) -> str:
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}-{self.high:.{digits}f}]"


def figure(values: Iterable[float]) -> Figure | None:
    every = list(values)
    return Figure(statistics.median(every), min(every), max(every)) if every else None


class Figures:
    def __init__(self, slices: Sequence[Slice]) -> None:
        self.warm_ups = [piece for piece in slices if piece.kind == WARM_UP]
        self.measured = [piece for piece in slices if piece.kind != WARM_UP]
        present = {piece.contender for piece in self.measured}
        self.contenders = [contender.name for contender in ROSTER if contender.name in present]

    def of(self, contender: str, cell: Cell, value: Callable[[Slice], float]) -> Figure | None:
        """Returns the figure, None where the contender was not put to that cell."""
        return figure(value(s) for s in self.measured if (s.contender, s.kind, s.mix) == (contender, *cell))

    def cpu(self, contender: str, cell: Cell) -> Figure | None:
        return self.of(contender, cell, lambda piece: piece.cpu)

    def ratio(self, other: str, cell: Cell) -> float | None:
        """Returns the gateway's CPU a request by *other*'s: the median of one by the median of the other."""
        ours, theirs = self.cpu(GATEWAY, cell), self.cpu(other, cell)
        return ours.median / theirs.median if ours and theirs else None

    def ratios(self, other: str) -> dict[Cell, float]:
        return {cell: ratio for cell in ALL if (ratio := self.ratio(other, cell)) is not None}

    def failed(self, contender: str) -> int:
        """Returns how many requests failed in all measured slices."""
        return sum(piece.failed for piece in self.measured if piece.contender == contender)

    def peaks(self) -> dict[tuple[str, str], float]:
        """Requests a second by contender and kind, with one token a user."""
        found = {
            (contender, cell[0]): self.of(contender, cell, lambda piece: piece.rps)
            for contender in self.contenders
            for cell in ALL
            if cell[1] == "per-user"
        }
        return {key: rps.median for key, rps in found.items() if rps}

    def not_saturated(self) -> list[str]:
        """Returns the contenders whose core was not full by the median: their rate is that of the load."""
        return [
            name
            for name in self.contenders
            if statistics.median(s.cpu * s.rps / 1e6 + s.others for s in self.measured if s.contender == name) < FULL
        ]

    def disturbed(self) -> bool:
        """Returns True where other processes used the contender's core: such figures are not comparable."""
        return statistics.median(piece.others + piece.stolen for piece in self.measured) > DISTURBED
