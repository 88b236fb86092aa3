"""Ratios of the gateway's CPU a request to that of its last release, both measured in turn in one run.

A ratio to a program in C moves with the machine: on a busy one the last release itself missed its own by a half.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.figures import Figures
from bench.last_release import NAME
from bench.roster import ALL, Cell
from bench.rounds import Slice

TOLERANCE = 1.25


def to_last_release(figures: Figures, contender: str) -> dict[Cell, float]:
    """Returns the ratio of each cell that both were put to: the median of the ratios of the rounds."""
    ratios: dict[Cell, float] = {}
    for cell in ALL:
        ours, before = _by_round(figures.measured, contender, cell), _by_round(figures.measured, NAME, cell)
        pairs = [ours[number] / before[number] for number in ours.keys() & before.keys()]
        if pairs:
            ratios[cell] = statistics.median(pairs)
    return ratios


def worsened(ratios: dict[Cell, float]) -> list[str]:
    """Returns a line for each cell that costs more than TOLERANCE times what it did, or was not measured."""
    lines = []
    for cell in ALL:
        if cell not in ratios:
            lines.append(f"{', '.join(cell)}: not measured")
        elif ratios[cell] > TOLERANCE:
            lines.append(f"{', '.join(cell)}: {ratios[cell]:.2f} times the last release, {TOLERANCE} allowed")
    return lines


def _by_round(slices: Sequence[Slice], contender: str, cell: Cell) -> dict[int, float]:
    which = (contender, *cell)
    return {piece.round: piece.cpu for piece in slices if (piece.contender, piece.kind, piece.mix) == which}
