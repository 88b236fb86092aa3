"""The benchmark: `python -m bench run | check | keep | report | connections | overload | …`.

ROUNDS in the environment, 5 by default. For overload it is 4, an even number, as its two pairs take turns.
The scenarios (kills, locked, rotation, soak, capacity) have a `--help` each.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from random import Random
from typing import NamedTuple

from bench import connections, last_release, memory, overload, plot, ratios, report, servers, slow
from bench.checks import examine, handles
from bench.cpu_share import cpu_share
from bench.figures import GATEWAY, Figures
from bench.prerequisites import prepare, versions
from bench.processes import OTHER_CORE, Server, tree
from bench.results import RESULTS, Memory, Results
from bench.rig import JOB, Rig, rig
from bench.roster import ALONE_NAME, ROSTER, Contender, gateway
from bench.rounds import Pace, Running, rounds
from bench.scale import available, scale
from bench.steady import steady
from bench.workload import EACH, USERS, Tokens, body, cancel, is_large, poll, result, submit, write

LATEST = RESULTS / "latest.json"
SCENARIOS = {  # command and module
    "capacity": "capacity",
    "instructions": "instructions",
    "kills": "killed_clicks",
    "locked": "locked",
    "rotation": "rotation",
    "soak": "soak",
}
SCALE_ROUNDS = 3  # at most: workers are started again in each
CHECK_ROUNDS = 12  # at least: five gave 1.18 and 1.53 in two runs


def main() -> int:
    if len(sys.argv) > 1 and sys.argv[1] in SCENARIOS:
        scenario: Callable[[Sequence[str]], int] = import_module(f"bench.{SCENARIOS[sys.argv[1]]}").main
        return scenario(sys.argv[2:])
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped on the way out
    try:
        return _COMMANDS[arguments.command](arguments)
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("command", nargs="?", default="run", choices=_COMMANDS)
    names = [contender.name for contender in ROSTER]
    parser.add_argument("--only", action="append", choices=names, help="run: may be given several times")
    parser.add_argument("--quick", action="store_true", help="one-second slices and no warm-up: shows that all works")
    parser.add_argument("--seconds", type=float, default=60.0, help="overload: length of each load")
    parser.add_argument(
        "--front", type=int, help="overload: nginx in front as shipped, which refuses what is more at once than this"
    )
    parser.add_argument(
        "--factor", type=float, action="append", help="overload: multiple of the peak, by default 3 and 5"
    )
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    field = [c for c in ROSTER if not arguments.only or c.name in arguments.only]
    results = _measure(field, pace=_pace(arguments), everything=not arguments.only)
    path = LATEST if not (arguments.quick or arguments.only) else RESULTS / "partial.json"
    results.save(path)
    _write(results, path)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """Fails where the work of the last release costs more than TOLERANCE times what it cost there.

    What is new since then, each call in the ledger, is measured too; its price is printed and fails nothing.
    """
    field = [*(c for c in ROSTER if c.name in (GATEWAY, ALONE_NAME)), last_release.contender()]
    results = _measure(field, pace=_pace(arguments), everything=False, least=CHECK_ROUNDS)
    results.save(RESULTS / "check.json")
    figures = Figures(results.slices)
    for name in (ALONE_NAME, GATEWAY):
        for cell, ratio in ratios.to_last_release(figures, name).items():
            print(f"{name}: {', '.join(cell)}: {ratio:.2f} times the last release, {last_release.stored().version}")
    worse = ratios.worsened(ratios.to_last_release(figures, ALONE_NAME))
    for line in worse:
        print(line, file=sys.stderr)
    return 1 if worse else 0


def _keep(_: argparse.Namespace) -> int:
    """Makes this commit the one that later code is held against."""
    release = last_release.keep(versions()["fal-auth-proxy"])
    print(f"{release.version} at {release.commit}")
    return 0


def _report(_: argparse.Namespace) -> int:
    _write(Results.load(LATEST), LATEST)
    return 0


def _connections(_: argparse.Namespace) -> int:
    """Prints the rates of one worker with a ledger on Redis at several numbers of connections."""
    os.sched_setaffinity(0, [OTHER_CORE])
    with ExitStack() as stack:
        ground = stack.enter_context(rig())
        server = next(c for c in ROSTER if c.name == connections.CONTENDER).start(ground)
        stack.callback(server.stop)
        tokens = Tokens(ground.secret)
        requests = [submit(tokens.of_user[user], body(user, number)) for number in range(EACH) for user in range(USERS)]
        print(connections.table(list(connections.measure(server, requests, _say))))
    return 0


def _overload(arguments: argparse.Namespace) -> int:
    """Prints what two workers in a share of a core serve of a load that is too much for them."""
    factors, count = arguments.factor or [3.0, 5.0], int(os.environ.get("ROUNDS", "4"))
    with ExitStack() as stack:
        pair = _in_a_share(stack, "overload-a", arguments.front), _in_a_share(stack, "overload-b", arguments.front)
        loads = overload.measure(pair, factors, seconds=arguments.seconds, rounds=count, say=_say)
    print(overload.table(loads))
    return 0


def _in_a_share(stack: ExitStack, name: str, limit: int | None) -> overload.Target:
    """Returns two workers in a share of a core, behind nginx if there is a *limit*."""
    server, calls = stack.enter_context(_two_workers(name, max_lag=None if limit is None else overload.MAX_LAG))
    requests = overload.Requests(
        submits=[submit(token, content) for token, content, _ in calls],
        polls=[poll(token, job) for token, _, job in calls],
        cancels=[cancel(token, job) for token, _, job in calls],
    )
    port = peak_port = server.port
    if limit is not None:
        port, peak_port = [
            stack.enter_context(overload.front(server.port, most)) for most in (limit, overload.NO_LIMIT)
        ]
    stack.enter_context(cpu_share(overload.CORES, tree(server.pid)))
    return overload.Target(server, port, peak_port, requests)


def _slow(arguments: argparse.Namespace) -> int:
    """Prints what a good client of two workers notices of a thousand slow ones."""
    with _two_workers("slow") as (server, calls):
        jobs = [(token, job) for token, _, job in calls]
        polls = [slow.closing(poll(*each)) if number % 2 else poll(*each) for number, each in enumerate(jobs)]
        attack = slow.kinds(
            "127.0.0.1",
            submit(calls[0].token, calls[0].content),
            large=[result(*each) for each in jobs if is_large(each[1])],
            small=[result(*each) for each in jobs if not is_large(each[1])],
        )
        count = 1 if arguments.quick else int(os.environ.get("ROUNDS", "5"))
        found = slow.measure(server, polls, attack, count, _say)
    print(slow.table(found))
    return 0 if all(slow.goals(found).values()) else 1


class _Call(NamedTuple):
    """Session token of a caller, content of a submit, and handle of a job that was submitted so."""

    token: str
    content: bytes
    job: str


@contextmanager
def _two_workers(name: str, *, max_lag: float | None = None) -> Iterator[tuple[Server, list[_Call]]]:
    """Starts two workers with budgets on Redis, and yields them with calls of all users in turn."""
    os.sched_setaffinity(0, [OTHER_CORE])
    with ExitStack() as stack:
        ground = stack.enter_context(rig())
        server = gateway(name, plain=True, store="redis", ledger="redis", max_lag=max_lag, workers=2)(ground)
        stack.callback(server.stop)
        tokens = Tokens(ground.secret)
        job = handles(server.port, tokens)
        users = [(user, number) for number in range(EACH) for user in range(USERS)]
        yield server, [_Call(tokens.of_user[user], body(user, number), job(user, number)) for user, number in users]


def _memory(_: argparse.Namespace) -> int:
    """Prints what large and refused bodies cost one worker."""
    os.sched_setaffinity(0, [OTHER_CORE])
    with rig() as ground:
        return 0 if memory.measure(ground, Tokens(ground.secret), _say) else 1


def _restarts(_: argparse.Namespace) -> int:
    """Restarts and reloads two workers under load behind nginx."""
    from bench import restarts  # needs the packages of the tests

    return restarts.main()


def _servers(arguments: argparse.Namespace) -> int:
    """Prints the CPU of a poll and a submit under each ASGI server, for docs/servers.md."""
    os.sched_setaffinity(0, [OTHER_CORE])
    with ExitStack() as stack:
        ground = stack.enter_context(rig())
        running = list(_started(servers.contenders(), ground, stack))
        count, random = int(os.environ.get("ROUNDS", "5")), Random()
        slices = list(rounds(running, count=count, pace=_pace(arguments), random=random, say=_say))
    print(servers.table(slices))
    return 0


_COMMANDS = {
    "run": _run,
    "check": _check,
    "keep": _keep,
    "report": _report,
    "connections": _connections,
    "overload": _overload,
    "restarts": _restarts,
    "servers": _servers,
    "slow": _slow,
    "memory": _memory,
}


def _pace(arguments: argparse.Namespace) -> Pace:
    return Pace(slice=1, warm=0.1) if arguments.quick else Pace()


def _write(results: Results, path: Path) -> None:
    text = report.markdown(results)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    path.with_suffix(".svg").write_text(plot.svg(Figures(results.slices)), encoding="utf-8")
    print(text)


def _measure(field: Sequence[Contender], *, pace: Pace, everything: bool, least: int = 1) -> Results:
    """Runs the rounds, *least* of them at least; with *everything* also latency and several workers."""
    prepare()
    count = max(least, int(os.environ.get("ROUNDS", "5")))
    started, seed = time.monotonic(), time.time_ns() % 2**32
    results = Results(datetime.now(UTC).isoformat(timespec="seconds"), versions(), count, pace.slice, seed)
    random = Random(seed)
    cores = range(os.cpu_count() or 1)
    os.sched_setaffinity(0, [OTHER_CORE])
    with ExitStack() as stack:
        ground = stack.enter_context(rig())
        running = list(_started(field, ground, stack))
        results.slices += rounds(running, count=count, pace=pace, random=random, say=_say)
        gateway = [r for r in running if r.contender.name == GATEWAY]
        if everything:
            peaks = Figures(results.slices).peaks()
            results.steady += steady(gateway, ground, peaks, count=count, random=random, say=_say)
        results.memory += [Memory(r.contender.name, r.idle, r.server.peak()) for r in running]
        if everything and available():
            few = min(count, SCALE_ROUNDS)
            results.scaled += scale(ground, gateway[0].requests, count=few, cores=cores, say=_say)
        elif everything:
            results.notes.append("Workers were not measured: this version's `serve` has no --workers.")
    results.seconds = time.monotonic() - started
    return results


def _started(field: Sequence[Contender], ground: Rig, stack: ExitStack) -> Iterator[Running]:
    """Yields each contender, started and found to do its job, with its requests.

    Raises RuntimeError where one does not.
    """
    tokens = Tokens(ground.secret)
    raw = write(ground, tokens, lambda user, number: f"{JOB[:-8]}{user:05}{number:03}", "raw")
    own = None
    for contender in field:
        _say(f"start: {contender.name}")
        server = contender.start(ground)
        stack.callback(server.stop)
        idle = server.resident()
        job, requests = JOB, raw
        if contender.handles:
            # One secret seals for all gateways here, so the handles of the first are good at each.
            if own is None or contender.own_handles:
                job_handle = handles(server.port, tokens)
                own = job_handle(0, 0), write(ground, tokens, job_handle, f"handles-{contender.name.split(',')[0]}")
            job, requests = own
        failed = examine(contender, server.port, tokens, job)
        if failed:
            raise RuntimeError(f"{contender.name} fails: {'; '.join(failed)}")
        yield Running(contender, server, requests, ground.store if contender.uses_store else None, idle)


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
