"""Memory and time that large bodies take: `python -m bench memory`.

One worker with the default limits. 25 submits of 10 MB are held while fal reads nothing, of three kinds. Then one
session sends payloads that are refused, over four connections as fast as they are answered, while others poll.
Last come single bodies of 10 MB, during which the event loop must answer health checks.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from statistics import median

import uvloop

from bench.crowd import Crowd
from bench.processes import Server, free_port, tree
from bench.repeaters import repeating
from bench.rig import JOB, Rig
from bench.workload import Tokens, poll, submit

SUBMITS = 25
SIZE = 10 * 1024 * 1024 - 1024
ELEMENTS = 19_000
ATTACKERS = 4
ATTACKS = 5
RATE = 50.0  # polls a second
SLICE = 6.0  # seconds, of the quiet and of the attacked times
MOST_MEMORY, MOST_MORE = 3, 100  # times the bytes sent, and MB
MOST_LEFT = 1.2  # of the memory before
MOST_RATIO = 3.0  # of the polls' p99
MOST_STOP = 50.0  # ms
_HEALTH = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
_FACTS = re.compile(r'"(?:error_type|reason|event)":"[^"]*"')
_STATUS: dict[str, object] = {"status": "IN_QUEUE", "request_id": JOB, "queue_position": 0}


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of the worker in MB: before, at most while *sent* MB are held, at rest with them, and after."""

    kind: str
    sent: float
    before: float
    most: float
    holding: float
    after: float
    statuses: Counter[int]


def bodies() -> dict[str, bytes]:
    """Returns the bodies: one text of ASCII, texts with an emoji each, and nested values."""
    text = "a" * (SIZE // 12)
    item = "b" * (SIZE // ELEMENTS - 20)
    nested: list[object] = [{"k": [item, number]} for number in range(ELEMENTS // 4)]
    return {
        "ASCII": _body("a" * (SIZE - 200)),
        "emoji": _body([f"{text}\U0001f600" for _ in range(11)]),
        "nested": _body(nested),
    }


def _body(value: object) -> bytes:
    fields = {"prompt": "a house", "image_url": "https://v3.fal.media/files/tiger/a.jpeg", "extra": value}
    return json.dumps(fields, ensure_ascii=False).encode()


def start(rig: Rig, upstream: int) -> Server:
    """Starts one worker with the default limits and a ledger in memory, in front of 127.0.0.1:*upstream*."""
    port = free_port()
    config = replace(rig, plain=upstream).fill(
        "gateway.toml",
        "memory.toml",
        port=port,
        admin=free_port(),
        store="memory",
        price='unknown_fields = "pass"',
        prefix="memory",
        ledger="",
        overload="",
        origin=f"http://127.0.0.1:{upstream}",
    )
    config.write_text(config.read_text().partition("[[limits]]")[0])
    environ = {
        "FAL_KEY": rig.fal_key,
        "SESSION_SECRET": rig.secret,
        "FAL_PROXY_HANDLE_SECRETS": rig.handle_secret,
    }
    command: list[str | Path] = [Path(sys.executable).with_name("fal-proxy"), "serve", config]
    return Server(command, port=port, log=rig.home / "memory.log", environ=environ)


class SlowFal:
    """Upstream that answers polls at once, and reads submits only once `released` is set."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            content: dict[str, object] = {"status": "IN_PROGRESS"}
            if head.startswith(b"POST"):
                await self.released.wait()
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
                content = _STATUS
            body = json.dumps(content).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


@asynccontextmanager
async def slow_fal() -> AsyncIterator[tuple[SlowFal, int]]:
    fal = SlowFal()
    listener = await asyncio.start_server(fal, "127.0.0.1", 0, limit=64 * 1024)
    try:
        yield fal, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


def measure(rig: Rig, tokens: Tokens, say: Callable[[str], None]) -> bool:
    """Prints all figures, and returns whether they are as promised."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(rig, tokens, say))


async def _measure(rig: Rig, tokens: Tokens, say: Callable[[str], None]) -> bool:
    async with slow_fal() as (fal, upstream):
        server = await asyncio.to_thread(start, rig, upstream)
        try:
            good = []
            for kind, body in bodies().items():
                say(f"{SUBMITS} submits of {len(body) / 1e6:.1f} MB, {kind}")
                begun = server.log.stat().st_size
                good.append(_print_held(await _hold(server, fal, tokens, kind, body)))
                for line in _unserved(server, begun):
                    print("  ", line)
            for kind, body in (("small", b'{"seed": "x"}'), ("10 MB", b'{"prompt": "%b"' % (b"a" * SIZE))):
                say(f"refused payloads, {kind}")
                good.append(await _attack(server, tokens, kind, body))
            for kind, body in {**bodies(), **_stops()}.items():
                good.append(await _stop(server, tokens, kind, body))
            return all(good)
        finally:
            fal.released.set()
            server.stop()


async def _hold(server: Server, fal: SlowFal, tokens: Tokens, kind: str, body: bytes) -> Held:
    fal.released.set()
    crowd = Crowd(server.port, timeout=120)
    await crowd.ask("warm-up", submit(tokens.of_user[0], body))
    fal.released.clear()
    await asyncio.sleep(1)
    before = server.resident()
    _forget_peak(server)
    users = cycle(tokens.of_user[1:])
    asking = [asyncio.create_task(crowd.ask(kind, submit(next(users), body))) for _ in range(SUBMITS)]
    holding = await _settled(server)
    fal.released.set()
    answers = await asyncio.gather(*asking)
    crowd.close()
    most = server.peak()
    after = await _settled(server)
    statuses = Counter(answer.status for answer in answers)
    return Held(kind, SUBMITS * len(body) / 1e6, before, most, holding, after, statuses)


async def _settled(server: Server) -> float:
    """Returns the memory once the process uses hardly any CPU time."""
    while True:
        cpu = server.cpu().scheduled
        await asyncio.sleep(1.5)
        if server.cpu().scheduled - cpu < 50e6:
            return server.resident()


def _unserved(server: Server, begun: int) -> list[str]:
    """Returns the error types, reasons and events of the log from *begun* on."""
    return sorted(set(_FACTS.findall(server.log.read_text()[begun:])))


def _forget_peak(server: Server) -> None:
    for pid in tree(server.pid):
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): the highest resident size becomes the present one


def _print_held(found: Held) -> bool:
    limit = MOST_MEMORY * found.sent + MOST_MORE
    good = found.most <= limit and found.after <= MOST_LEFT * found.before
    each, most = ((memory - found.before) / found.sent for memory in (found.holding, found.most))
    print(
        f"{found.kind:8} {found.sent:.0f} MB sent: {found.before:.0f} MB before, {found.most:.0f} at most "
        f"(limit {limit:.0f}), {found.holding:.0f} while fal is slow, {found.after:.0f} after; statuses "
        f"{dict(found.statuses)}; each byte takes {each:.2f}, {most:.2f} at most: {'ok' if good else 'MISSED'}"
    )
    return good


async def _attack(server: Server, tokens: Tokens, kind: str, body: bytes) -> bool:
    quiet, attacked, statuses = [], [], Counter[int]()
    polls = [poll(token, "x") for token in tokens.of_user[1:]]  # a refusal by 404 takes the same way up to fal
    attack = submit(tokens.of_user[0], body)
    for _ in range(ATTACKS):
        quiet.append(await _polled(server, polls))
        with repeating(server.port, attack, ATTACKERS) as end:
            attacked.append(await _polled(server, polls))
            statuses += end()
    ratio = median(a / q for a, q in zip(attacked, quiet, strict=True))
    good = ratio <= MOST_RATIO and statuses[429] > 0
    print(
        f"refused, {kind}: p99 of polls {_list(quiet)} ms quiet, {_list(attacked)} attacked, {ratio:.2f} times "
        f"(median); the attacker got {dict(statuses)}: {'ok' if good else 'MISSED'}"
    )
    return good


async def _polled(server: Server, polls: Sequence[bytes]) -> float:
    """Returns the p99 of RATE polls a second, in ms."""
    loop, crowd, source, tasks = asyncio.get_running_loop(), Crowd(server.port), cycle(polls), []
    due = loop.time()
    for _ in range(int(RATE * SLICE)):
        due += 1 / RATE
        await asyncio.sleep(max(0.0, due - loop.time()))
        tasks.append(loop.create_task(crowd.ask("poll", next(source))))
    answers = await asyncio.gather(*tasks)
    crowd.close()
    ordered = sorted(answer.seconds for answer in answers)
    return 1000 * ordered[int(0.99 * len(ordered))]


def _stops() -> dict[str, bytes]:
    size = SIZE - 200
    return {
        "one emoji": b'{"prompt": "%b"}' % (b"a" * size + "\U0001f600".encode()),
        "one escape": b'{"prompt": "%b"}' % (b"a" * size + b"\\ud83d\\ude00"),
        "quotes": b"[" + b'"",' * (size // 3) + b"1]",
        "brackets": b"[" * size,
        "pairs": b"[]" * (size // 2),
        "digits": b"1" * size,
    }


async def _stop(server: Server, tokens: Tokens, kind: str, body: bytes) -> bool:
    """Sends *body* five times, and asks for the health without pause meanwhile.

    Prints the time of the slowest answer in each.
    """
    longest, status = [], 0
    for number in range(5):
        crowd = Crowd(server.port, timeout=60)
        asking = asyncio.create_task(crowd.ask(kind, submit(tokens.of_user[10 + number], body)))
        waits = [0.0]
        while not asking.done():
            waits.append((await crowd.ask("health", _HEALTH)).seconds)
        status = (await asking).status
        longest.append(1000 * max(waits))
        crowd.close()
    good = median(longest) <= MOST_STOP
    print(f"one body, {kind}: {status}; longest stop {_list(longest)} ms: {'ok' if good else 'MISSED'}")
    return good


def _list(values: Sequence[float]) -> str:
    return "/".join(f"{value:.1f}" for value in values)
