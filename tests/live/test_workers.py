"""`fal-proxy serve --workers` as an operator meets its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

from support.budgets import COMMAND, HOST, money, until


def is_free(port: int) -> bool:
    """Whether another could listen there."""
    try:
        with socket.create_server((HOST, port), reuse_port=False):
            return True
    except OSError:
        return False


async def test_killed_it_leaves_nobody_on_the_port(tmp_path: Path) -> None:
    """SIGKILL of the first process: its workers stop in good order, and the next start has the port to itself."""
    async with money(tmp_path, "redis") as rig:
        port = int(rig.gateway.url.rpartition(":")[2])
        assert not is_free(port)
        await rig.gateway.stop(signal.SIGKILL)
        await until(lambda: is_free(port))
        await until(lambda: len(rig.gateway.journal("stopped")) == 2)
        await rig.gateway.start()


async def test_workers_that_cannot_start_end_it(tmp_path: Path) -> None:
    """Their admin ports are taken: the command says so and ends with status 1, and does not try for ever."""
    async with money(tmp_path, "redis") as rig:
        config = rig.config.read_text().replace(f"port = {rig.gateway.url.rpartition(':')[2]}", "port = 0")
        (tmp_path / "second.toml").write_text(config)
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("serve", str(tmp_path / "second.toml"), "--workers", "2"),
            env={**rig.environ},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            _, said = await process.communicate()

    assert process.returncode == 1
    assert b"workers: none starts: each died 5 times" in said
    assert b"address already in use" in said
