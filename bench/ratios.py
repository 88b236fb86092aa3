"""Ratios of the gateway's CPU a request to HAProxy's, compared with those of the last release."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.figures import HAPROXY, Figures

FILE = Path(__file__).with_name("ratios.json")
TOLERANCE = 1.25


@dataclass(frozen=True, slots=True)
class Kept:
    """Ratios of *release*: *to_haproxy* maps "kind, mix" to the gateway's CPU a request by HAProxy's."""

    release: str
    to_haproxy: dict[str, float]


def keep(figures: Figures, release: str) -> None:
    """Raises RuntimeError where the figures are not fit for it."""
    _fit(figures)
    FILE.write_text(json.dumps(asdict(Kept(release, _by_name(figures))), indent=2) + "\n", encoding="utf-8")


def stored() -> Kept:
    """Raises RuntimeError where none are."""
    if not FILE.exists():
        raise RuntimeError("no ratios are kept yet: run `python -m bench run`, then `python -m bench keep`")
    return Kept(**json.loads(FILE.read_text(encoding="utf-8")))


def worsened(figures: Figures, before: Kept) -> list[str]:
    """Returns a line for each cell that costs more than TOLERANCE times *before*, or is missing.

    Raises RuntimeError where the figures are not fit for a comparison.
    """
    _fit(figures)
    now = _by_name(figures)
    lines = []
    for cell, ratio in before.to_haproxy.items():
        if cell not in now:
            lines.append(f"{cell}: not measured")
        elif now[cell] > ratio * TOLERANCE:
            lines.append(f"{cell}: {now[cell]:.2f} times HAProxy, {ratio:.2f} in {before.release}")
    return lines


def _by_name(figures: Figures) -> dict[str, float]:
    return {", ".join(cell): round(ratio, 3) for cell, ratio in figures.ratios(HAPROXY).items()}


def _fit(figures: Figures) -> None:
    if figures.disturbed():
        raise RuntimeError("other processes used the contender's core; run it again on a quiet machine")
