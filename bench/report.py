"""The results in Markdown: what was measured, what was promised, how noisy it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from bench.figures import GATEWAY, PROMISES, Figure, Figures, figure
from bench.load import CONNECTIONS
from bench.results import Results
from bench.roster import ALL, PER_USER, ROSTER, Cell, Contender
from bench.rounds import STEADY, STEADY_SLICES
from bench.steady import SHARE, Steady

ADDED_P99 = 10.0  # ms over direct, promised
PEAK_MEMORY = 120.0  # MB of one worker, promised
ON_REDIS = "gateway, limits on Redis"
SUBMIT: Cell = ("submit", "per-user")
MIX = {"per-user": "one token a user", "fresh": "a new token each"}


def markdown(results: Results) -> str:
    figures = Figures(results.slices)
    sections = (
        _head(results),
        _cpu(figures),
        _speed(results, figures),
        _promises(results, figures),
        _latency(results.steady),
        _redis(figures),
        _ledgers(figures),
        _scale(results),
        _jobs(),
        _noise(results, figures),
        _versions(results),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(results: Results) -> str:
    return f"""# Benchmark

{results.started}, {results.versions["machine"]}. {results.rounds} interleaved rounds in random order, slices of
{results.slice_seconds} s, {CONNECTIONS} connections, TLS to the upstream unless named otherwise. Contender on one core;
load, upstream and store on the other. Figures are medians [lowest-highest] of the rounds."""


def _cpu(figures: Figures) -> str:
    head = ["contender", *(f"{kind}, {MIX[mix]}" for kind, mix in ALL)]
    rows = [[name, *(_text(figures.cpu(name, cell)) for cell in ALL)] for name in figures.contenders]
    return f"""## CPU a request

User + system time of the whole process tree with all its threads, in µs.

{_table(head, rows)}"""


def _speed(results: Results, figures: Figures) -> str:
    head = ["contender", "failed"]
    for kind, _ in PER_USER:
        head += [f"{kind}s a second", f"{kind} p50, ms", f"{kind} p99, ms"]
    columns = (("rps", 0), ("p50", 1), ("p99", 1))
    memory = {row.contender: (f"{row.idle:.0f}", f"{row.peak:.0f}") for row in results.memory}
    rows = [
        [
            name,
            str(figures.failed(name)),
            *(_text(figures.of(name, cell, attrgetter(a)), digits) for cell in PER_USER for a, digits in columns),
            *memory.get(name, ("", "")),
        ]
        for name in figures.contenders
    ]
    return f"""## At full load

One token a user; each connection sends its next request when it has the last answer. Failed: requests of all rounds
without an answer of 2xx. Memory of the whole process tree in MB: resident as started, and the highest (VmHWM).

{_table([*head, "idle", "peak"], rows)}"""


def _promises(results: Results, figures: Figures) -> str:
    rows = []
    for (other, cell), most in PROMISES.items():
        if (ratio := figures.ratio(other, cell)) is not None:
            what = f"CPU of a {cell[0]} by that of {other}, {MIX[cell[1]]}"
            rows.append([what, f"{most:.2f}", f"{ratio:.2f}", _verdict(ratio <= most)])
    for kind, _ in PER_USER:
        if added := figure(row.through.p99 - row.direct.p99 for row in results.steady if row.kind == kind):
            what = f"p99 of a {kind} over direct at {SHARE:.0%} of own peak, ms"
            rows.append([what, f"{ADDED_P99:.0f}", added.text(2), _verdict(added.median <= ADDED_P99)])
    for peak in (row.peak for row in results.memory if row.contender == GATEWAY):
        what = "peak memory of one worker, MB"
        rows.append([what, f"{PEAK_MEMORY:.0f}", f"{peak:.0f}", _verdict(peak <= PEAK_MEMORY)])
    return f"## Promised\n\n{_table(['what', 'at most', 'measured', ''], rows)}" if rows else ""


def _latency(steady: Sequence[Steady]) -> str:
    rows = []
    columns = {"rate": 0, "through.achieved": 0, "through.p50": 2, "direct.p50": 2, "through.p99": 2, "direct.p99": 2}
    for name, kind in dict.fromkeys((row.contender, row.kind) for row in steady):
        mine = [row for row in steady if (row.contender, row.kind) == (name, kind)]
        cells = (_text(figure(map(attrgetter(a), mine)), digits) for a, digits in columns.items())
        rows.append([name, kind, *cells])
    head = ["contender", "kind", "due a second", "answered a second", "p50, ms", "p50 direct", "p99, ms", "p99 direct"]
    return _unless_empty(
        rows,
        f"""## At {SHARE:.0%} of its own peak

Requests fall due at random moments (Poisson) whether or not earlier ones are answered; each is timed from its moment.
Direct: the same arrivals at the upstream's plain port, without TLS and without a proxy.

{_table(head, rows)}""",
    )


def _redis(figures: Figures) -> str:
    rows = []
    for cell in PER_USER:
        here, there = figures.cpu(GATEWAY, cell), figures.cpu(ON_REDIS, cell)
        if here and there:
            store = figures.of(ON_REDIS, cell, attrgetter("store_cpu"))
            rows.append([cell[0], here.text(), there.text(), f"{there.median - here.median:+.1f}", _text(store)])
    head = ["kind", "limits in memory, µs", "limits on Redis, µs", "more", "the store's own CPU, µs"]
    return _unless_empty(rows, f"## Limits on Redis\n\n{_table(head, rows)}")


def _ledgers(figures: Figures) -> str:
    """Returns the CPU of a submit by the number of open jobs, beside that without budgets and slots."""
    rows = []
    for kind in ("gateway, ledger in SQLite", "gateway, ledger on Redis"):
        plain = figures.cpu(f"{kind}, no budgets", SUBMIT)
        for suffix in ("", ", 5,000 open jobs", ", 50,000 open jobs"):
            cpu = figures.cpu(f"{kind}{suffix}", SUBMIT)
            if cpu and plain:
                rows.append([f"{kind}{suffix}", cpu.text(), plain.text(), f"{cpu.median / plain.median:.2f}"])
    head = ["contender", "a submit, µs", "without budgets and slots, µs", "times"]
    return _unless_empty(rows, f"## Budgets and slots\n\n{_table(head, rows)}")


def _scale(results: Results) -> str:
    rows = []
    columns = {"rps": 0, "cpu": 1, "p99": 1, "peak": 0}
    for kind, workers in dict.fromkeys((row.kind, row.workers) for row in results.scaled):
        mine = [row for row in results.scaled if (row.kind, row.workers) == (kind, workers)]
        cells = (_text(figure(map(attrgetter(a), mine)), digits) for a, digits in columns.items())
        rows.append([kind, str(workers), *cells])
    head = ["kind", "workers", "requests a second", "CPU, µs", "p99, ms", "peak, MB of all processes"]
    return _unless_empty(
        rows,
        f"""## Workers

Limits on Redis, no process pinned: load, upstream and store take their share of the same cores.

{_table(head, rows)}""",
    )


def _jobs() -> str:
    rows = [[contender.name, *_job(contender)] for contender in ROSTER]
    head = ["contender", "verifies sessions", "limits by", "checks the schema", "job ids", "log and metrics", ""]
    return f"""## Who does what

All allow the one listed endpoint and add the key; this is checked before each run.

{_table(head, rows)}"""


def _job(contender: Contender) -> Iterable[str]:
    ours = contender.handles
    yield "yes" if contender.verifies else "no"
    yield "user, address" if ours else "user" if contender.limits else "-"
    yield "yes" if contender.validates else "no"
    yield "bound to their user" if ours else "anybody's"
    yield "yes" if ours else "no"
    yield "" if contender.keeps_status else "answers 200 where fal says 202"


def _noise(results: Results, figures: Figures) -> str:
    lines = []
    if figures.measured and figures.disturbed():
        lines.append("**Other processes used the contender's core: run it again on a quiet machine.**")
    if figures.measured:
        others, stolen = (figure(map(attrgetter(a), figures.measured)) for a in ("others", "stolen"))
        apart = max(abs(piece.cpu_ticks / piece.cpu - 1) for piece in figures.measured)
        every = [cpu for name in figures.contenders for cell in ALL if (cpu := figures.cpu(name, cell))]
        widths = figure((cpu.high - cpu.low) / cpu.median for cpu in every)
        lines += [
            f"Anybody else's share of the contender's core: {_text(others, 3)}; the hypervisor's: {_text(stolen, 3)}.",
            f"The kernel's two counts of CPU time (schedstat, ticks) differ by {apart:.1%} at most.",
            f"(highest - lowest) / median of the rounds' CPU figures: {_text(widths, 2)}.",
            f"Warm-ups end when the last {STEADY_SLICES} slices of 1 s agree within {STEADY:.0%}, or at their limit.",
        ]
    if idle := figures.not_saturated():
        lines.append(f"The load's core was full before theirs, so their rate is not their own: {', '.join(idle)}.")
    lines += [*results.notes, f"The whole run took {results.seconds:.0f} s; its seed is {results.seed}."]
    return "## How good these figures are\n\n" + "\n".join(f"- {line}" for line in lines)


def _versions(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items() if name != "machine")
    return f"## Versions\n\n{versions}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _unless_empty(rows: Sequence[object], section: str) -> str:
    return section if rows else ""


def _text(value: Figure | None, digits: int = 1) -> str:
    return "-" if value is None else value.text(digits)


def _verdict(met: bool) -> str:
    return "met" if met else "**not met**"
