"""Tests of `fal-proxy serve`: starts, restarts, reloads and stops of one process and of several."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from support.budgets import (
    AUDIENCE,
    COMMAND,
    ENVIRON,
    HOST,
    ISSUER,
    ORIGIN,
    PATIENCE,
    Process,
    Rig,
    StoreKind,
    adjacent_ports,
    eventually,
    is_running,
    money,
    toml,
    until,
)

from proxy.sandbox.faults import Fault, Kind

AT_ONCE = 4  # submits
PACE = 0.05  # seconds between two submits of one caller: the workers that start need the machine


def is_free(port: int) -> bool:
    """Returns whether another process could listen on *port*."""
    try:
        with socket.create_server((HOST, port), reuse_port=False):
            return True
    except OSError:
        return False


async def submit_until(rig: Rig, over: asyncio.Event) -> list[int]:
    """Submits over fresh and over kept connections until *over*.

    Returns the statuses, 0 for a broken connection.
    """
    statuses: list[int] = []

    async def work(*, fresh: bool) -> None:
        async with rig.caller(fresh=fresh) as caller:
            while not over.is_set():
                statuses.append((await caller.submit("fal-ai/money/0")).status)
                await asyncio.sleep(PACE)

    await asyncio.gather(*(work(fresh=number % 2 == 0) for number in range(AT_ONCE)))
    return statuses


async def more_jobs(rig: Rig, count: int = 10) -> None:
    """Returns when *count* more jobs have been accepted."""
    before = sum(rig.upstream.jobs().values())
    await until(lambda: sum(rig.upstream.jobs().values()) >= before + count)


async def reload(rig: Rig) -> None:
    """Returns when all workers have been replaced."""
    number = len(rig.gateway.journal("reloaded"))
    os.kill(rig.gateway.pid, signal.SIGHUP)
    await until(lambda: len(rig.gateway.journal("reloaded")) > number)


@pytest.mark.parametrize("store", ["redis", "sqlite"])
async def test_reloads_and_a_restart_lose_no_submit(tmp_path: Path, store: StoreKind) -> None:
    """On an inherited socket every submit is answered while SIGHUP and a restart replace the workers.

    Two workers are replaced one by one, and a single process reloads in place.
    """
    with socket.create_server((HOST, 0)) as listening:
        async with money(tmp_path, store, listening=listening) as rig:
            before, over = set(rig.gateway.workers()), asyncio.Event()
            submitting = asyncio.create_task(submit_until(rig, over))
            for _ in range(2):
                await more_jobs(rig)
                await reload(rig)
            after, jobs = set(rig.gateway.workers()), sum(rig.upstream.jobs().values())
            counted = await rig.gateway.metric('fal_proxy_requests_total{action="submit"')
            status = await rig.gateway.stop()
            await rig.gateway.start()
            await more_jobs(rig)
            over.set()
            statuses = await submitting

            assert set(statuses) == {200}
            assert sum(rig.upstream.jobs().values()) == len(statuses)
            assert counted >= jobs - AT_ONCE
            assert before.isdisjoint(after) is (store == "redis")
            assert status == 0


async def test_a_bad_configuration_keeps_the_old_workers(tmp_path: Path) -> None:
    """A reload of a broken file is reported by key.

    A worker that dies later starts from the old configuration, and no counter falls.
    """
    async with money(tmp_path, "redis") as rig:
        good, before = rig.config.read_text(), rig.gateway.workers()
        rig.config.write_text(good.replace("public_origin", "public_orign"))
        os.kill(rig.gateway.pid, signal.SIGHUP)
        await until(lambda: rig.gateway.journal("reload_failed"))
        counted = await rig.gateway.metric("fal_proxy_loop_delay_seconds_count")
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: len(rig.gateway.workers()) == 2 and before[0] not in rig.gateway.workers())

        assert "server.public_orign" in rig.gateway.journal("reload_failed")[0]["reason"]
        assert before[1] in rig.gateway.workers()
        assert await rig.gateway.metric("fal_proxy_loop_delay_seconds_count") >= counted
        assert await rig.gateway.metric('fal_proxy_worker_ends_total{code="-9"}') == 1
        assert [line["code"] for line in rig.gateway.journal("worker_ended")] == [-signal.SIGKILL]


async def test_a_killed_supervisor_leaves_no_worker_on_the_port(tmp_path: Path) -> None:
    """After SIGKILL of the first process its workers stop in good order, and the next start has the port."""
    async with money(tmp_path, "redis") as rig:
        port = int(rig.gateway.url.rpartition(":")[2])
        assert not is_free(port)
        await rig.gateway.stop(signal.SIGKILL)
        await until(lambda: is_free(port))
        await until(lambda: len(rig.gateway.journal("stopped")) == 2)
        await rig.gateway.start()


async def test_a_taken_admin_port_ends_the_start(tmp_path: Path) -> None:
    """The command reports the address and ends with status 1."""
    with socket.create_server((HOST, 0)) as occupied:
        config = small_config(tmp_path, occupied.getsockname()[1], kind="redis")
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("serve", str(config), "--workers", "2", "--port", "0"),
            env={**ENVIRON, "FAL_PROXY_REDIS_URL": f"redis://{HOST}:9"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            _, printed = await process.communicate()

    assert process.returncode == 1
    assert b"another program listens" in printed


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """While a request is under way, the first SIGTERM waits for it, and the second one does not."""
    async with money(tmp_path, "sqlite") as rig, rig.caller() as caller:
        await caller.get("/healthz")
        rig.upstream.fail(Fault(Kind.LATENCY, "submit", delay=60.0))
        submitting = asyncio.create_task(caller.submit("fal-ai/money/0"))
        await eventually(lambda: rig.gateway.metric("fal_proxy_upstream_active"), lambda active: active == 1)
        os.kill(rig.gateway.pid, signal.SIGTERM)
        await until(lambda: rig.gateway.journal("stopping"))
        os.kill(rig.gateway.pid, signal.SIGTERM)
        await until(lambda: not is_running(rig.gateway.pid))

        assert (await submitting).status == 0


async def test_a_second_signal_ends_all_workers(tmp_path: Path) -> None:
    """With several workers, too: none goes on with the request that the first signal waits for."""
    async with money(tmp_path, "redis") as rig, rig.caller() as caller:
        workers = rig.gateway.workers()
        rig.upstream.fail(Fault(Kind.LATENCY, "submit", delay=60.0))
        submitting = asyncio.create_task(caller.submit("fal-ai/money/0"))
        await eventually(lambda: rig.gateway.metric("fal_proxy_upstream_active"), lambda active: active == 1)
        os.kill(rig.gateway.pid, signal.SIGTERM)
        await until(lambda: len(rig.gateway.journal("stopping")) == 2)
        os.kill(rig.gateway.pid, signal.SIGTERM)
        await until(lambda: not any(map(is_running, [rig.gateway.pid, *workers])))

        assert (await submitting).status == 0


async def test_a_drain_serves_on_while_balancers_look_away(tmp_path: Path) -> None:
    """For `server.drain_seconds` after the signal `/readyz` is red, and requests are answered."""
    async with money(tmp_path, "sqlite") as rig, rig.caller(fresh=True) as caller:
        edit(rig.config, "[admin]", "drain_seconds = 3.0\n[admin]")
        await rig.gateway.stop()
        await rig.gateway.start()
        began = time.monotonic()
        os.kill(rig.gateway.pid, signal.SIGTERM)
        await until(lambda: rig.gateway.journal("stopping"))
        during = await caller.get("/readyz"), (await caller.submit("fal-ai/money/0")).status
        await until(lambda: not is_running(rig.gateway.pid))

        assert during == (503, 200)
        assert time.monotonic() - began >= 3


def edit(config: Path, old: str, new: str) -> None:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


async def test_a_single_process_reloads_in_place(tmp_path: Path) -> None:
    """Requests go on, budgets keep what was used, and jobs of a removed endpoint can still be read."""
    async with money(tmp_path, "sqlite", endpoints=2) as rig, rig.caller() as alice:
        pid, over = rig.gateway.pid, asyncio.Event()
        job = (await alice.submit("fal-ai/money/1")).job
        submitting = asyncio.create_task(submit_until(rig, over))
        edit(rig.config, "limit = 1000000", "limit = 500000")
        edit(rig.config, 'id = "fal-ai/money/1"', 'id = "fal-ai/other/1"')
        await reload(rig)
        usage, removed, poll = await alice.usage(), await alice.submit("fal-ai/money/1"), await alice.poll(job)
        over.set()
        statuses = await submitting
        submits = await rig.gateway.metric('fal_proxy_requests_total{action="submit",endpoint="fal-ai/money/')

        assert set(statuses) == {200}
        assert (usage["budgets"][0]["limit"], removed.status, poll.status) == (500_000, 403, 202)
        assert usage["budgets"][0]["left"] < 500_000
        assert (rig.gateway.pid, submits) == (pid, len(statuses) + 1)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [('kind = "sqlite"', 'kind = "redis"', "ledger.kind"), ("port = ", "port = 1", "server.port")],
    ids=["bad", "needs-a-restart"],
)
async def test_a_reload_that_cannot_be_applied_changes_nothing(tmp_path: Path, old: str, new: str, key: str) -> None:
    """The journal names the key, and the gateway goes on with what it has."""
    async with money(tmp_path, "sqlite") as rig, rig.caller() as alice:
        edit(rig.config, old, new)
        os.kill(rig.gateway.pid, signal.SIGHUP)
        await until(lambda: rig.gateway.journal("reload_failed"))

        assert key in rig.gateway.journal("reload_failed")[0]["reason"]
        assert await rig.gateway.metric('fal_proxy_reloads_total{result="refused"}') == 1
        assert (await alice.submit("fal-ai/money/0")).status == 200


# systemd passes the first socket as descriptor 3, and sets LISTEN_PID to the process that it starts.
PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def small_config(home: Path, admin: int = 0, kind: str = "sqlite") -> Path:
    """Returns a configuration whose port is given otherwise, by default without a store."""
    config = home / "fal-proxy.toml"
    session = {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "HS256", "secret_env": "SESSION_SECRET"}
    text = toml(
        server={"public_origin": ORIGIN},
        admin={"port": admin},
        store={"kind": "memory" if kind == "sqlite" else kind},
        ledger={"kind": kind, "path": ":memory:"},
        sessions=[session],
        endpoints=[{"id": "fal-ai/hyper-sdxl/image-to-image"}],
    )
    config.write_text(text)
    return config


@asynccontextmanager
async def served(home: Path, *command: object, passed: tuple[int, ...] = (), **environ: str) -> AsyncIterator[None]:
    """A running service; *passed* are the descriptors that it inherits."""
    process = Process(
        command,
        log=home / "log",
        environ={**ENVIRON, **environ},
        is_up=lambda text: '"event":"started"' in text,
        pass_fds=passed,
    )
    await process.start()
    try:
        yield
    finally:
        await process.stop()


async def health(host: str, port: int) -> int:
    async with httpx2.AsyncClient(timeout=PATIENCE) as client:
        return (await client.get(f"http://{host}:{port}/healthz")).status_code


async def test_an_inherited_socket_is_served(tmp_path: Path) -> None:
    """By option and as systemd passes it; a request between two services is answered by the second."""
    config = small_config(tmp_path)
    with socket.create_server((HOST, 0)) as listening:
        fd, port = listening.fileno(), int(listening.getsockname()[1])
        command = (sys.executable, "-c", PASS_ON, fd, *COMMAND[1:], "serve", config)
        async with served(tmp_path, *command, "--fd", "3", passed=(fd,)):
            assert await health(HOST, port) == 200
        between = asyncio.create_task(health(HOST, port))
        async with served(tmp_path, *command, passed=(fd,), LISTEN_FDS="1"):
            assert await between == 200


async def test_one_listener_serves_both_families(tmp_path: Path) -> None:
    """The host `::` listens on IPv6 and IPv4."""
    config, port = small_config(tmp_path), adjacent_ports(1)
    async with served(tmp_path, *COMMAND, "serve", config, "--host", "::", "--port", port):
        statuses = [await health(host, port) for host in ("127.0.0.1", "[::1]")]

    assert statuses == [200, 200]
