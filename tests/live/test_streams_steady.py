"""Hundreds of status streams, open for long: their cost does not grow, and nothing is left of them.

`python -m bench.streams` holds them for minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.budgets import AUDIENCE, ENVIRON, HOST, ISSUER, ORIGIN, Gateway, adjacent_ports, token, toml, until
from support.in_process_gateway import APP, ENDPOINT, JOB
from support.scripted_upstream import Peer, serve
from support.streams import chunk, head, status_event

from proxy.auth.caller import caller_key
from proxy.auth.job_handles import JobHandles

STREAMS, SECONDS = 300, 20.0
PER_USER = 10
FAL_PINGS = 15.0  # seconds (fal docs, status stream)
WARM = 3.0  # seconds after which nothing is new any more
SLACK = 2.0  # MB that the allocator may take without anything growing


@dataclass(frozen=True)
class Sample:
    """State of the gateway's process: resident MB, descriptors, tasks, and its CPU seconds until *at*."""

    resident: float
    descriptors: int
    tasks: int
    open: int
    at: float
    cpu: float


@dataclass
class Held:
    """Samples of a run. *before* and *after* are without streams.

    *heard* are the events of each caller, *late* is in seconds.
    """

    before: Sample
    after: Sample
    samples: list[Sample] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    late: float = 0.0


async def hold(home: Path, *, streams: int, seconds: float, every: float = 1.0) -> Held:
    """Opens *streams* for *seconds*. To half of them fal sends events *every* so many seconds."""
    async with serve(_Ticking(every)) as upstream, _gateway(home, upstream.url.replace("localhost", HOST)) as gateway:
        before = await sample(gateway)
        async with AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(_calling(gateway, number)) for number in range(streams)]
            async with asyncio.timeout(30):
                while await gateway.metric("fal_proxy_streams_open") != streams:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await asyncio.sleep(WARM)
            begun, samples = time.monotonic(), []
            while time.monotonic() < begun + seconds:
                samples.append(await sample(gateway))
                await asyncio.sleep(1)
        await until(lambda: not upstream.peers)
        after = await sample(gateway)
    late = max(caller.late for caller in callers)
    return Held(before, after, samples, [caller.heard for caller in callers], late)


async def sample(gateway: Gateway) -> Sample:
    process = Path(f"/proc/{gateway.pid}")
    lines = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    metrics = {name: await gateway.metric(f"fal_proxy_{name}") for name in ("tasks", "streams_open")}
    return Sample(
        int(lines["VmRSS"].split()[0]) / 1024,
        len(list((process / "fd").iterdir())),
        int(metrics["tasks"]),
        int(metrics["streams_open"]),
        time.monotonic(),
        await gateway.metric("process_cpu_seconds_total"),
    )


class _Ticking:
    """Upstream that sends every other caller events with the time of sending, the rest fal's comments."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._count = 0

    async def __call__(self, peer: Peer) -> None:
        self._count += 1
        speaks = self._count % 2 == 0
        await peer.request()
        peer.send(head())
        gone = asyncio.ensure_future(peer.gone())
        while not gone.done():
            sent = status_event(logs=[{"message": f"sent at {time.monotonic()}."}]) if speaks else b": ping\n\n"
            peer.send(chunk(sent))
            await asyncio.wait([gone], timeout=self._every if speaks else FAL_PINGS)


@dataclass
class _Caller:
    heard: int = 0
    late: float = 0.0

    async def listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            _, mark, sent = line.partition(b"sent at ")
            if mark:
                self.heard += 1
                self.late = max(self.late, time.monotonic() - float(sent.split(b'"')[0].rstrip(b".")))


@asynccontextmanager
async def _calling(gateway: Gateway, number: int) -> AsyncIterator[_Caller]:
    user = f"user-{number // PER_USER}"
    handles = JobHandles([ENVIRON["FAL_PROXY_HANDLE_SECRETS"].encode()])
    job = handles.sign(JOB, owner=caller_key(ISSUER, user), app=APP)
    path = f"/api/fal/queue/{APP}/requests/{job}/status/stream"
    reader, writer = await asyncio.open_connection(HOST, int(gateway.url.rpartition(":")[2]))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {token(user)}\r\n\r\n".encode())
    caller = _Caller()
    listening = asyncio.ensure_future(caller.listen(reader))
    try:
        yield caller
    finally:
        listening.cancel()
        writer.close()


@asynccontextmanager
async def _gateway(home: Path, upstream: str) -> AsyncIterator[Gateway]:
    port = adjacent_ports(2)
    config = home / "gateway.toml"
    session = {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "HS256", "secret_env": "SESSION_SECRET"}
    config.write_text(
        toml(
            server={
                "public_origin": ORIGIN,
                "port": port,
                "max_connections_per_address": 10_000,
            },
            admin={"port": port + 1},
            fal={"queue_origin": upstream},
            streams={"per_user": PER_USER, "per_worker": 10_000, "heartbeat_seconds": 1},
            sessions=[session],
            endpoints=[{"id": ENDPOINT}],
        )
    )
    gateway = Gateway(config, ENVIRON, workers=1, port=port, admin=port + 1)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


async def test_many_streams_cost_the_same_all_the_time(tmp_path: Path) -> None:
    """300 of them: descriptors and tasks stay as they are, memory within noise, and events come in time."""
    samples = await hold(tmp_path, streams=STREAMS, seconds=SECONDS)
    first, *_, last = samples.samples

    assert {sample.open for sample in samples.samples} == {STREAMS}
    assert len({sample.tasks for sample in samples.samples}) == 1, samples.samples
    assert abs(last.descriptors - first.descriptors) <= 1, "of which one is our asking"
    assert last.resident < first.resident + SLACK, samples.samples
    assert sum(heard > SECONDS / 2 for heard in samples.heard) == STREAMS // 2
    assert samples.late < 1, "one event a second is no load"
    assert (samples.after.open, samples.after.tasks) == (0, samples.before.tasks)
    assert samples.after.descriptors <= samples.before.descriptors + 2
