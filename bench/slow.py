"""Slow sockets: 500 heads, 300 bodies and 200 readers at once, and what a good client notices of them.

Quiet and attacked rounds alternate. The good client polls at a fixed rate, every second time over a new connection.
Half of the readers ask for 1 MB, which the system's buffers hold in part, the others for 24 kB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median

import uvloop

from bench.crowd import Answer, Crowd
from bench.processes import Server
from bench.slow_sockets import Kind, Lifetimes, siege

RATE = 50.0  # polls a second of the good client
QUIET_SECONDS = 15.0
ATTACK_SECONDS = 40.0  # more than the longest time that a slow client may take
MOST_RATIO = 1.5  # of the good client's p99
MOST_SECONDS = 35.0  # of a slow connection
COUNTS = {
    "head": 500,
    "body, 1 B/s": 150,
    "body, 1.2 kB/s": 150,
    "reader, large": 50,
    "reader, small": 50,
    "trickle, large": 50,
    "trickle, small": 50,
}


@dataclass(frozen=True, slots=True)
class Round:
    """One quiet and one attacked time. Times in ms; *lost* are good answers that did not come."""

    quiet_p50: float
    quiet_p99: float
    p50: float
    p99: float
    lost: int
    lifetimes: Lifetimes
    resident: tuple[float, float]  # MB: quiet, attacked
    cpu: tuple[float, float]  # of a core: quiet, attacked

    @property
    def ratio(self) -> float:
        return self.p99 / self.quiet_p99


def kinds(host: str, submit: bytes, large: Sequence[bytes], small: Sequence[bytes]) -> dict[str, tuple[Kind, int]]:
    """Returns the slow clients. *large* and *small* are requests for answers of those sizes."""
    head, _, body = submit.partition(b"\r\n\r\n")
    size = 1_000_000
    submit = head.replace(b"content-length: %d" % len(body), b"content-length: %d" % size) + b"\r\n\r\n"
    kinds = (
        Kind([b"GET /api/fal/proxy HTTP/1.1\r\nhost: %b\r\nx-slow: " % host.encode()], each=b"a"),
        Kind([submit + b'{"prompt": "'], each=b"a"),
        Kind([submit + b'{"prompt": "'], each=b"a" * 1200),
        Kind(large, reads=0),
        Kind(small, reads=0),
        Kind(large, reads=100),
        Kind(small, reads=100),
    )
    return {name: (kind, number) for (name, number), kind in zip(COUNTS.items(), kinds, strict=True)}


def measure(
    server: Server,
    polls: Sequence[bytes],
    attack: Mapping[str, tuple[Kind, int]],
    count: int,
    say: Callable[[str], None],
) -> list[Round]:
    """Returns *count* rounds."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_good(server, polls, QUIET_SECONDS / 4))
        return [runner.run(_round(server, polls, attack, number, say)) for number in range(1, count + 1)]


async def _round(
    server: Server,
    polls: Sequence[bytes],
    attack: Mapping[str, tuple[Kind, int]],
    number: int,
    say: Callable[[str], None],
) -> Round:
    say(f"round {number}: quiet")
    cpu = [server.cpu().scheduled]
    quiet = await _good(server, polls, QUIET_SECONDS)
    cpu.append(server.cpu().scheduled)
    resident = server.resident()
    say(f"round {number}: attacked")
    with siege(server.port, attack) as end:
        attacked = await _good(server, polls, ATTACK_SECONDS)
        under_attack = server.resident()
        cpu.append(server.cpu().scheduled)
        lifetimes = end()
    return Round(
        *_quantiles(quiet),
        *_quantiles(attacked),
        lost=sum(not answer.served for answer in (*quiet, *attacked)),
        lifetimes=lifetimes,
        resident=(resident, under_attack),
        cpu=((cpu[1] - cpu[0]) / 1e9 / QUIET_SECONDS, (cpu[2] - cpu[1]) / 1e9 / ATTACK_SECONDS),
    )


async def _good(server: Server, polls: Sequence[bytes], seconds: float) -> list[Answer]:
    """Returns the answers to RATE polls a second."""
    loop, crowd, source = asyncio.get_running_loop(), Crowd(server.port), cycle(polls)
    due = began = loop.time()
    tasks = []
    while due < began + seconds:
        due += 1 / RATE
        await asyncio.sleep(max(0.0, due - loop.time()))
        tasks.append(loop.create_task(crowd.ask("poll", next(source))))
    await asyncio.wait(tasks)
    crowd.close()
    return crowd.answers


def closing(request: bytes) -> bytes:
    """Returns *request* with the field that ends its connection."""
    return request.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)


def _quantiles(answers: Sequence[Answer]) -> tuple[float, float]:
    ordered = sorted(answer.seconds for answer in answers)
    return 1000 * median(ordered), 1000 * ordered[int(len(ordered) * 0.99)]


def table(rounds: Sequence[Round]) -> str:
    """Returns the rounds as text, with the figures that are promised."""
    lines = ["round  quiet p50    p99 ms  attacked p50    p99 ms  ratio  lost  MB quiet  attacked  CPU quiet  attacked"]
    for number, each in enumerate(rounds, start=1):
        lines.append(
            f"{number:5}{each.quiet_p50:11.1f}{each.quiet_p99:10.1f}{each.p50:14.1f}{each.p99:10.1f}{each.ratio:7.2f}"
            f"{each.lost:6}{each.resident[0]:10.0f}{each.resident[1]:10.0f}{each.cpu[0]:11.3f}{each.cpu[1]:10.3f}"
        )
    lines.append(f"\n{'slow client':16}closed  median s  longest s  open after {MOST_SECONDS:g} s")
    for name in COUNTS:
        closed = [age for each in rounds for age in each.lifetimes.closed.get(name, [])]
        late = [age for each in rounds for age in each.lifetimes.open.get(name, []) if age > MOST_SECONDS]
        lines.append(
            f"{name:16}{len(closed):6}{median(closed or [0]):10.1f}{max(closed, default=0.0):11.1f}{len(late):18}"
        )
    lines += [f"{name} {'ok' if good else 'MISSED'}" for name, good in goals(rounds).items()]
    return "\n".join(lines)


def goals(rounds: Sequence[Round]) -> dict[str, bool]:
    """Returns what is promised, and whether it was kept."""
    ratio = median(each.ratio for each in rounds)
    ages = [
        age
        for each in rounds
        for group in (each.lifetimes.closed, each.lifetimes.open)
        for kind in group.values()
        for age in kind
    ]
    return {
        f"p99 {ratio:.2f} times the quiet one (median), at most {MOST_RATIO:g}": ratio <= MOST_RATIO,
        f"slow connections closed after {max(ages):.1f} s, at most {MOST_SECONDS:g}": max(ages) <= MOST_SECONDS,
        "no good answer lost": not any(each.lost for each in rounds),
    }
