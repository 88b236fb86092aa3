"""Rotations of a provider's keys under load: `python -m bench rotation`.

A certified OpenID provider, two workers, ES256 and RS256, then the same while an attacker sends unknown kids all the
time. Status 1 where a good token was refused for longer than it may be, or an answer was a 5xx.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jwt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from live.test_oidc_provider import FALSE_401, UNDER_ATTACK, called, granted, oidc_provider, table, workers

WORKERS = 2
CONNECTIONS = 16
SETTLE = 5.0  # seconds of load before a rotation
AFTER = 5.0  # seconds of load after the time in which a good token may be refused
PER_ADDRESS = 25  # attempts of the attacker from one address: fewer than an address may fail in a minute
RESOURCES = ("urn:test:es256", "urn:test:rs256")


def main(arguments: Sequence[str]) -> int:
    """Rotates keys, and prints how long good tokens were refused."""
    parser = argparse.ArgumentParser(prog="python -m bench rotation")
    parser.add_argument("--rate", type=float, default=200.0, help="requests with good tokens a second")
    parser.add_argument("--attack", type=float, default=50.0, help="requests with unknown kids a second")
    parsed = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="fal-proxy-rotation-") as home,
        oidc_provider() as issuer,
        workers(Path(home), table(issuer, discovery=True), count=WORKERS) as gateway,
    ):
        calm = asyncio.run(_rotate(gateway.url, issuer, parsed.rate, 0.0, FALSE_401))
        attacked = asyncio.run(_rotate(gateway.url, issuer, parsed.rate, parsed.attack, UNDER_ATTACK))
    return 0 if calm and attacked else 1


@dataclass
class Answers:
    """Statuses with their times, on the monotonic clock."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def count(self, since: float) -> Counter[int]:
        return Counter(status for when, status in self.seen if when >= since)


async def _rotate(url: str, issuer: str, rate: float, attack: float, bound: float) -> bool:
    good, bad = Answers(), Answers()
    current = [await granted(issuer, resource) for resource in RESOURCES]
    payload = jwt.decode(current[0], options={"verify_signature": False})
    async with (
        _asking(url, rate, good, lambda number: current[number % len(current)]),
        _asking(url, attack, bad, lambda number: _unknown(payload, number), is_attack=True),
    ):
        await asyncio.sleep(SETTLE)
        begun, before = time.monotonic(), (await called(issuer, "GET", "/fetches"))["fetches"]
        await called(issuer, "POST", "/rotate")
        current[:] = [await granted(issuer, resource) for resource in RESOURCES]
        start = time.monotonic()
        await asyncio.sleep(bound + AFTER)
        fetches = (await called(issuer, "GET", "/fetches"))["fetches"] - before
    seconds = good.seen[-1][0] - good.seen[0][0]
    refused = [when - start for when, status in good.seen if status == 401]
    errors = sum(count for status, count in (good.count(0.0) + bad.count(0.0)).items() if status >= 500)
    print(
        f"{'attack of %.0f' % (len(bad.seen) / seconds) if attack else 'no attack'} a second, "
        f"{len(good.seen) / seconds:.0f} requests with good tokens a second, {WORKERS} workers: {len(good.seen)} good "
        f"({_by_status(good)}), {len(bad.seen)} bad ({_by_status(bad)}), {errors} x 5xx\n"
        f"new tokens {start - begun:.2f} s after the rotation; good tokens refused: {len(refused)}, the last "
        f"{max(refused, default=0.0):.2f} s after the first new token; {fetches} fetches by {WORKERS} processes"
    )
    return not errors and max(refused, default=0.0) <= bound and fetches <= WORKERS * (1 if not attack else 3)


def _unknown(payload: dict[str, object], number: int) -> str:
    return jwt.encode(payload, "x" * 32, headers={"kid": f"unknown-{time.monotonic_ns()}-{number}"})


def _by_status(answers: Answers) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(answers.count(0.0).items())) or "none"


@asynccontextmanager
async def _asking(
    url: str, rate: float, answers: Answers, token: Callable[[int], str], *, is_attack: bool = False
) -> AsyncIterator[None]:
    """Sends *rate* requests a second over CONNECTIONS connections until the end of the block."""
    if not rate:
        yield
        return
    numbers, started = itertools.count(), time.monotonic()
    tasks = [
        asyncio.create_task(_ask(url, _paced(numbers, rate, started), answers, token, is_attack))
        for _ in range(CONNECTIONS)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        failed = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, Exception)]
    if failed:
        raise RuntimeError(f"a connection failed: {failed[0]!r}")


def _paced(numbers: Iterator[int], rate: float, started: float) -> Iterator[tuple[int, float]]:
    """Yields numbers that all connections share, with the time at which each is due."""
    for number in numbers:
        yield number, started + number / rate


async def _ask(
    url: str, due: Iterator[tuple[int, float]], answers: Answers, token: Callable[[int], str], is_attack: bool
) -> None:
    host, port = url.removeprefix("http://").split(":")
    addresses = (f"127.7.{number // 250 % 250}.{number % 250 + 1}" for number in itertools.count(id(due) % 40_000))
    while True:
        source = (next(addresses), 0) if is_attack else None
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=source)
        for number, when in itertools.islice(due, PER_ADDRESS if is_attack else None):
            await asyncio.sleep(max(0.0, when - time.monotonic()))
            head = (
                f"GET /api/fal/usage HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token(number)}\r\n\r\n"
            )
            writer.write(head.encode())
            fields = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in fields.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length[15:]))
            answers.seen.append((time.monotonic(), int(fields[9:12])))
        writer.close()
