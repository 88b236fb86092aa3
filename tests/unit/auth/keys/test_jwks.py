from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from jwt import PyJWKClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from support.sandbox import Clock, bound, origin, served, until

from proxy.auth.keys import jwks as jwks_module
from proxy.auth.keys.jwks import MAX_SIZE, SPACING, Jwks
from proxy.errors import Unavailable
from proxy.http.client.tls import tls_context

MAX_AGE = 3600.0


def numbers(document: bytes) -> tuple[int, ...]:
    """Reads keys for the tests: digits are keys."""
    if not document.isdigit():
        raise ValueError("not a set")
    return tuple(map(int, document.decode()))


@dataclass
class Source:
    """Publishes *document* with *status*, once *open* is set; *asked* counts."""

    document: bytes = b"12"
    status: int = 200
    asked: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def answer(self, request: Request) -> Response:
        self.asked += 1
        self.fields = dict(request.headers)
        await self.open.wait()
        return Response(self.document, self.status, headers={"location": self.url} if self.status == 302 else None)


@dataclass
class Setup:
    source: Source
    clock: Clock
    reports: list[str]
    keys: Jwks[int]


@asynccontextmanager
async def fetching() -> AsyncIterator[Setup]:
    (listener,) = bound()
    source, clock, reports = Source(url=f"{origin(listener)}/keys"), Clock(), list[str]()
    source.open.set()
    async with served({listener: Starlette(routes=[Route("/keys", source.answer)])}):
        keys = Jwks(source.url, numbers, tls=tls_context(), max_age=MAX_AGE, clock=clock, report=reports.append)
        yield Setup(source, clock, reports, keys)


async def test_a_set_is_fetched_once_and_kept() -> None:
    """Until it is too old; then once more."""
    async with fetching() as it:
        first = [await it.keys.keys() for _ in range(5)]
        it.source.document = b"345"
        it.clock.forward(MAX_AGE)
        still = await it.keys.keys()
        it.clock.forward(1)
        anew = await it.keys.keys()

    assert (first, still, anew) == ([(1, 2)] * 5, (1, 2), (3, 4, 5))
    assert it.source.asked == 2
    assert it.reports == ["the key set has 2 keys", "the key set has 3 keys"]
    assert not {"authorization", "cookie"} & it.source.fields.keys()


async def test_many_who_ask_at_once_share_one_fetch() -> None:
    """One who gives up takes nothing from the others."""
    async with fetching() as it:
        it.source.open.clear()
        asking = [asyncio.create_task(it.keys.keys()) for _ in range(20)]
        await until(lambda: it.source.asked)
        asking[0].cancel()
        await asyncio.sleep(0)
        it.source.open.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [(1, 2)] * 19
    assert it.source.asked == 1


async def test_looking_again_is_spaced() -> None:
    """However often no key fits, the set is fetched once in SPACING seconds; then a new key is found."""
    async with fetching() as it:
        await it.keys.keys()
        it.source.document = b"9"
        soon = [await it.keys.refresh() for _ in range(5)]
        it.clock.forward(SPACING)
        later = [await it.keys.refresh() for _ in range(5)]

    assert (soon, later) == ([(1, 2)] * 5, [(9,)] * 5)
    assert it.source.asked == 2


def silent(source: Source) -> None:
    source.open.clear()


FAULTS: dict[str, Callable[[Source], None]] = {
    "500": lambda source: setattr(source, "status", 500),
    "404": lambda source: setattr(source, "status", 404),
    "redirect": lambda source: setattr(source, "status", 302),
    "no content": lambda source: setattr(source, "document", b""),
    "garbage": lambda source: setattr(source, "document", b"<html>"),
    "too large": lambda source: setattr(source, "document", b"1" * (MAX_SIZE + 1)),
    "silent": silent,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_source_that_fails_changes_nothing(
    fault: Callable[[Source], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old set holds for as long again; then no webhook is verified until there is a set again."""
    monkeypatch.setattr(jwks_module, "TIMEOUT", 0.2)
    async with fetching() as it:
        await it.keys.keys()
        document = it.source.document
        fault(it.source)
        it.clock.forward(MAX_AGE + 1)
        old = await it.keys.keys()
        it.clock.forward(MAX_AGE)
        with pytest.raises(Unavailable) as refused:
            await it.keys.keys()
        it.source.status, it.source.document = 200, document
        it.source.open.set()
        it.clock.forward(SPACING)
        recovered = await it.keys.keys()

    assert old == recovered == (1, 2)
    assert (refused.value.status, refused.value.error_type) == (503, "keys_unavailable")
    assert len([line for line in it.reports if line.startswith("the key set was not renewed: ")]) == 2


async def test_nobody_there_at_the_start() -> None:
    """No set ever: unavailable, and the next look waits its time."""
    (listener,) = bound()
    url = origin(listener)
    listener.close()
    clock, reports = Clock(), list[str]()
    keys = Jwks(url, numbers, tls=tls_context(), max_age=MAX_AGE, clock=clock, report=reports.append)

    for _ in range(3):
        with pytest.raises(Unavailable):
            await keys.keys()

    assert len(reports) == 1


async def test_the_stock_client_reads_documents_of_any_size() -> None:
    """PyJWT's client blocks its thread and reads ten megabytes of keys: when this fails, ours may go."""
    assert not inspect.iscoroutinefunction(PyJWKClient.fetch_data)
    async with fetching() as it:
        it.source.document = b'{"keys": [' + b" " * 10_000_000 + b"]}"
        client = PyJWKClient(it.source.url, cache_jwk_set=False)
        stock = await asyncio.to_thread(client.fetch_data)
        with pytest.raises(Unavailable):
            await it.keys.keys()

    assert stock == {"keys": []}
