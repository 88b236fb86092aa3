"""The CPU figures as one SVG: bars on a logarithmic scale, the range of the rounds on top of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from bench.figures import Figure, Figures
from bench.roster import Cell

CELLS: tuple[tuple[Cell, str, str], ...] = (
    (("poll", "per-user"), "#4c78a8", "poll"),
    (("submit", "per-user"), "#f58518", "submit"),
    (("poll", "fresh"), "#9ecae9", "poll, a new token each"),
    (("submit", "fresh"), "#ffbf79", "submit, a new token each"),
)
LEFT, RIGHT, TOP, WIDTH = 200, 70, 64, 900
BAR, GAP = 11, 14


def svg(figures: Figures) -> str:
    rows = [(name, _bars(figures, name)) for name in figures.contenders]
    every = [figure for _, bars in rows for figure, _ in bars]
    scale = _Scale(min(f.low for f in every), max(f.high for f in every))
    height = TOP + sum(len(bars) * BAR + GAP for _, bars in rows) + 24
    parts = [*_frame(height), *_axis(scale, height)]
    y = TOP
    for name, bars in rows:
        middle = y + len(bars) * BAR / 2 + 4
        parts.append(_text(LEFT - 8, middle, name, anchor="end"))
        for figure, colour in bars:
            parts += _bar(scale, y, figure, colour)
            y += BAR
        y += GAP
    return "\n".join([*parts, "</svg>", ""])


def _bars(figures: Figures, name: str) -> list[tuple[Figure, str]]:
    found = [(figures.cpu(name, cell), colour) for cell, colour, _ in CELLS]
    return [(figure, colour) for figure, colour in found if figure]


class _Scale:
    """Whole powers of ten, so that a bar's length can be read."""

    def __init__(self, low: float, high: float) -> None:
        self.first, self.last = math.floor(math.log10(low)), math.ceil(math.log10(high))

    def x(self, value: float) -> float:
        share = (math.log10(value) - self.first) / (self.last - self.first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def ticks(self) -> Iterator[float]:
        for power in range(self.first, self.last):
            yield from (digit * 10.0**power for digit in (1, 2, 5))
        yield 10.0**self.last


def _frame(height: float) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        'font-family="system-ui, sans-serif" font-size="12">'
    )
    yield f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>'
    yield _text(12, 20, "CPU a request in µs, logarithmic: median and range of the rounds", weight="bold")
    x = LEFT
    for _, colour, label in CELLS:
        yield f'<rect x="{x}" y="32" width="11" height="11" fill="{colour}"/>'
        yield _text(x + 16, 42, label)
        x += 40 + 7 * len(label)


def _axis(scale: _Scale, height: float) -> Iterator[str]:
    for tick in scale.ticks():
        x = scale.x(tick)
        yield f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height - 22:.0f}" stroke="#ddd"/>'
        yield _text(x, height - 8, f"{tick:g}", anchor="middle", colour="#666")


def _bar(scale: _Scale, y: float, figure: Figure, colour: str) -> Iterator[str]:
    end, low, high = scale.x(figure.median), scale.x(figure.low), scale.x(figure.high)
    yield f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR - 1}" fill="{colour}"/>'
    middle = y + BAR / 2 - 0.5
    yield f'<line x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" stroke="#333"/>'
    yield _text(max(end, high) + 5, y + BAR - 2, f"{figure.median:.0f}", size=10)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    weight: str = "normal",
    colour: str = "#222",
    size: int = 12,
) -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" fill="{colour}" font-size="{size}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
