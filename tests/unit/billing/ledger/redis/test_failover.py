"""Tests of the Redis ledger behind Sentinel and in a Cluster."""

import asyncio
from pathlib import Path

from support.redis_ledger import NOW, charge, opened, request, sums
from unit.billing.ledger.redis.test_ledger import use_every_step
from unit.storage.test_redis_topology import clustered, wait_for, watching

from proxy.billing.ledger.interface import Granted
from proxy.errors import StoreAway


async def test_a_master_that_dies(tmp_path: Path) -> None:
    """After a failover the ledger goes on with what was reserved, and reports no lost data."""
    reports: list[str] = []
    drawn = charge(1000)
    with watching(tmp_path) as servers:
        async with opened(servers.url(), timeout=0.5, reports=reports) as ledger:
            for n in range(20):
                await ledger.reserve(f"t{n}", request(1, drawn), now=NOW)
                await ledger.accept(f"t{n}", f"job{n}", now=NOW)
            wait_for(lambda: servers.master.info("master_repl_offset") == servers.replica.info("slave_repl_offset"))
            servers.master.process.kill()
            result: object = None
            async with asyncio.timeout(15):
                while result != Granted():
                    (result,) = await asyncio.gather(
                        ledger.reserve("after", request(5, drawn), now=NOW), return_exceptions=True
                    )
                    assert isinstance(result, StoreAway | Granted)
                    await asyncio.sleep(0.05)

            assert await ledger.settle("job0", amount=None, now=NOW) is True
            assert await sums(ledger, drawn) == [(1, 24)]
            assert (ledger.epoch.losses, ledger.notices()) == (0, ())
    assert reports == []


async def test_a_cluster(tmp_path: Path) -> None:
    """In a Cluster every step and a dump work, with all keys on the node of one slot."""
    with clustered(tmp_path) as cluster:
        async with opened(cluster.url(), timeout=5.0) as ledger:
            await use_every_step(ledger)
            tables = {table async for table, _ in ledger.dump()}
            assert await ledger.settle("fal-ai/hyper-sdxl/2", amount=None, now=NOW) is True
        keys = {node.port: len(node.ask("KEYS", "*")) for node in cluster.nodes}

    assert tables == {"bucket", "claim", "credit", "day", "job", "reservation", "blocked"}
    assert sorted(count > 0 for count in keys.values()) == [False, False, True]
