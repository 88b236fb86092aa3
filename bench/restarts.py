"""Rolling restarts and reloads under load: `python -m bench restarts`.

Two workers on Valkey behind nginx as shipped, in front of the sandbox. Submits arrive at random moments of a fixed
rate, half of them on connections of their own. Each restart is a SIGHUP. Each reload is one with a changed budget,
which callers must then see. RESTARTS, RELOADS and RATE in the environment. Status 1 where a submit failed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import budgets
from support.budgets import INPUT, Rig, endpoint, eventually, money, token
from support.front_proxies import Address, free_port
from support.shipped_fronts import nginx, places

RESTARTS, RELOADS = int(os.environ.get("RESTARTS", "20")), int(os.environ.get("RELOADS", "20"))
RATE = float(os.environ.get("RATE", "100"))  # submits a second
_TIME = 30.0  # seconds for one answer
_IDLE = 20.0  # seconds; nginx closes after 75 s, and a request sent at that moment is lost by HTTP's own rules
_REPLACED = 120.0  # seconds for both workers, on a machine that others use
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Load:
    """Submits in an open loop: one that is late does not delay the next."""

    address: Address
    statuses: Counter[int] = field(default_factory=Counter)
    resets: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    idle: list[tuple[float, Connection]] = field(default_factory=list)
    late: float = 0.0  # seconds at most that a submit was sent after it was due: a machine too slow for the rate

    async def run(self, over: asyncio.Event) -> None:
        """Submits until *over*, then waits for the answers under way."""
        loop, due, number = asyncio.get_running_loop(), time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not over.is_set():
                due += random.expovariate(RATE)
                await asyncio.sleep(max(0.0, due - loop.time()))
                self.late = max(self.late, loop.time() - due)
                group.create_task(self._submit(due, fresh=number % 2 == 0))
                number += 1
        for _, (_, writer) in self.idle:
            writer.close()

    async def _submit(self, due: float, *, fresh: bool) -> None:
        try:
            async with asyncio.timeout(_TIME):
                connection = await self._connection(fresh=fresh)
                status, is_last = await _exchange(connection, fresh=fresh)
                self.statuses[status] += 1
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.resets.append(repr(error))
            return
        self.seconds.append(time.monotonic() - due)
        if is_last:
            connection[1].close()
        else:
            self.idle.append((time.monotonic(), connection))

    async def _connection(self, *, fresh: bool) -> Connection:
        while self.idle and not fresh:
            since, connection = self.idle.pop()
            if time.monotonic() < since + _IDLE and not connection[0].at_eof():
                return connection
            connection[1].close()
        return await asyncio.open_connection(*self.address)


async def _exchange(connection: Connection, *, fresh: bool) -> tuple[int, bool]:
    """Sends one submit. Returns the status of its answer, and whether the connection ends with it."""
    reader, writer = connection
    writer.write(_REQUESTS[fresh])
    answer = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(answer)
    await reader.readexactly(int(length[1]) if length else 0)
    return int(answer[9:12]), b"\r\nconnection: close" in answer.lower()


def _request(*, fresh: bool) -> bytes:
    body = json.dumps(INPUT).encode()
    lines = [
        f"POST /api/fal/queue/{endpoint(0)} HTTP/1.1",
        "Host: app.example.com",
        f"Authorization: Bearer {token('alice')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close" if fresh else "Connection: keep-alive",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


_REQUESTS = {fresh: _request(fresh=fresh) for fresh in (True, False)}


async def _replace_workers(rig: Rig) -> float:
    """Returns how many seconds the replacement of both workers took."""
    begun, number = time.monotonic(), _ended(rig)
    os.kill(rig.gateway.pid, signal.SIGHUP)
    async with asyncio.timeout(_REPLACED):
        while _ended(rig) == number:  # noqa: ASYNC110 it happens in another process
            await asyncio.sleep(0.2)
    return time.monotonic() - begun


def _ended(rig: Rig) -> int:
    return len(rig.gateway.journal("reloaded")) + len(rig.gateway.journal("reload_failed"))


async def _reload(rig: Rig, address: Address, limit: int) -> float:
    """Changes the limit of the budget, and returns once callers see it."""
    text = rig.config.read_text()
    rig.config.write_text(re.sub(r"limit = \d+", f"limit = {limit}", text))
    seconds = await _replace_workers(rig)
    async with budgets.Caller("http://{}:{}".format(*address), "alice", fresh=True) as caller:
        await eventually(caller.usage, lambda usage: usage["budgets"][0]["limit"] == limit)
    return seconds


async def play(home: Path) -> bool:
    """Prints the figures. Returns True where no submit failed and each has one job."""
    async with money(home, "redis") as rig:
        gateway = "127.0.0.1", int(rig.gateway.url.rpartition(":")[2])
        with nginx(places(home, free_port(), [gateway])) as address:
            load, over = Load(address), asyncio.Event()
            submitting = asyncio.create_task(load.run(over))
            before = set(rig.gateway.workers())
            restarts = [_say(await _replace_workers(rig)) for _ in range(RESTARTS)]
            reloads = [_say(await _reload(rig, address, 1_000_000 + number)) for number in range(RELOADS)]
            over.set()
            await submitting
        jobs, failed = sum(rig.upstream.jobs().values()), len(rig.gateway.journal("reload_failed"))
        left = before & set(rig.gateway.workers())
    print(f"{RESTARTS} restarts and {RELOADS} reloads, {failed} refused; {len(left)} of the first workers are left")
    print(f"replacement of two workers: {_spread([*restarts, *reloads], 1)} s")
    print(f"{load.statuses.total()} submits at {RATE:g} a second, sent up to {load.late:.1f} s late; {jobs} jobs")
    print(f"statuses {dict(load.statuses)}, {len(load.resets)} resets")
    print(f"time of a submit: {_spread(load.seconds, 3)} s", *load.resets[:10], sep="\n")
    return set(load.statuses) == {200} and not load.resets and not failed and jobs == load.statuses.total()


def _say(seconds: float) -> float:
    print(f"replaced in {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


def _spread(values: list[float], digits: int) -> str:
    ordered = sorted(values)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
    return f"p50 {p50:.{digits}f}, p99 {p99:.{digits}f}, longest {ordered[-1]:.{digits}f}"


def main() -> int:
    """Returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="fal-proxy-restarts-") as home:
        return 0 if asyncio.run(play(Path(home))) else 1
