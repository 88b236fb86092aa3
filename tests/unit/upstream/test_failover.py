from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.errors import ConnectFailed, DeadlineExceeded, ExchangeBroken, PoolExhausted, TransportError
from proxy.http.client.messages import FieldLines, UpstreamRequest, UpstreamResponse
from proxy.upstream.body import UpstreamBody
from proxy.upstream.failover import FailoverClient

REQUEST = UpstreamRequest(b"POST", b"/a/b", FieldLines(()), b"{}")


class Origin:
    """A client of one origin that answers with its name, or raises *error*."""

    def __init__(self, name: str, error: TransportError | None = None) -> None:
        self.name = name
        self.error = error
        self.timeouts: list[float] = []
        self.closed = False
        self.active = self.idle = 1

    async def fetch(
        self, request: UpstreamRequest, *, timeout: float, max_body: int, reserved: bool = False
    ) -> UpstreamResponse:
        self.timeouts.append(timeout)
        if self.error is not None:
            raise self.error
        return UpstreamResponse(200, (), self.name.encode())

    @asynccontextmanager
    async def stream(
        self, request: UpstreamRequest, *, timeout_head: float, timeout_idle: float
    ) -> AsyncIterator[UpstreamBody]:
        if self.error is not None:
            raise self.error
        yield Body(self.name)

    async def aclose(self) -> None:
        self.closed = True


class Body:
    """An answer whose status text is the origin's name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        self.headers = ()

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


async def fetch(client: FailoverClient) -> bytes:
    return (await client.fetch(REQUEST, timeout=10, max_body=100)).body


async def test_the_first_origin_answers_while_it_can() -> None:
    """The backup gets no request."""
    backup = Origin("backup")
    client = FailoverClient(Origin("primary"), backup)

    assert await fetch(client) == b"primary"
    assert (backup.timeouts, client.failovers) == ([], 0)


async def test_a_connection_that_cannot_be_made_goes_to_the_backup() -> None:
    """Nothing was sent, so the same request is sent once to the backup, in the time that is left."""
    backup = Origin("backup")
    client = FailoverClient(Origin("primary", ConnectFailed("refused")), backup)

    assert await fetch(client) == b"backup"
    assert client.failovers == 1
    assert 0 < backup.timeouts[0] <= 10


@pytest.mark.parametrize(
    "error",
    [
        ExchangeBroken("reset", sent=True),
        DeadlineExceeded("late", sent=True),
        PoolExhausted("full"),
        DeadlineExceeded("late", sent=False),
    ],
)
async def test_no_other_failure_is_repeated(error: TransportError) -> None:
    """Bytes that may have arrived are never sent again, and a full pool of ours is not fal's failure."""
    backup = Origin("backup")

    with pytest.raises(type(error)):
        await fetch(FailoverClient(Origin("primary", error), backup))
    assert backup.timeouts == []


async def test_both_away_is_the_backups_failure() -> None:
    """The caller gets the error of the last try."""
    client = FailoverClient(Origin("primary", ConnectFailed("one")), Origin("backup", ConnectFailed("two")))

    with pytest.raises(ConnectFailed, match="two"):
        await fetch(client)


async def test_streams_go_to_the_backup_too() -> None:
    """An answer that stays open is opened at the origin that can be reached."""
    client = FailoverClient(Origin("primary", ConnectFailed("refused")), Origin("backup"))

    async with client.stream(REQUEST, timeout_head=1, timeout_idle=1) as body:
        assert isinstance(body, Body)
        assert body.name == "backup"
    assert client.failovers == 1


async def test_counts_and_closing_are_of_both() -> None:
    """The metrics see both pools, and both are closed."""
    origins = Origin("primary"), Origin("backup")
    client = FailoverClient(*origins)

    assert (client.active, client.idle) == (2, 2)
    await client.aclose()
    assert [origin.closed for origin in origins] == [True, True]
