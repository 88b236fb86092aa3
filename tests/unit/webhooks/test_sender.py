from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme
from support.gateway_process import tls_front
from support.sandbox import bound, origin, until
from support.webhooks import SECRET, App, listening

from proxy.errors import Overloaded, Unavailable
from proxy.http.client.tls import tls_context
from proxy.webhooks.sender import DeliveryResult, RetrySchedule, WebhookSender
from proxy.webhooks.standard_webhooks import AppSignature

SCHEDULE = RetrySchedule(tries=3, seconds=0.3, pause=0.01)
BODY = b'{"request_id":"job-1"}'


@asynccontextmanager
async def deliveries(
    url: str, *, concurrency: int = 4, schedule: RetrySchedule = SCHEDULE, tls: ssl.SSLContext | None = None
) -> AsyncIterator[WebhookSender]:
    made = WebhookSender(
        url, AppSignature([SECRET]), schedule, concurrency=concurrency, tls=tls or tls_context(), clock=time.time
    )
    yield made
    await made.aclose()


@pytest.mark.parametrize(
    ("plan", "verdict", "heard"),
    [
        ([200], DeliveryResult.DELIVERED, 1),
        ([204], DeliveryResult.DELIVERED, 1),
        ([410], DeliveryResult.GONE, 1),
        ([500, 503, 201], DeliveryResult.DELIVERED, 3),
        ([0, 429, 410], DeliveryResult.GONE, 3),
        ([302, 404, 500], None, 3),
        ([0, 0, 0], None, 3),
    ],
)
async def test_it_is_tried_a_few_times(plan: list[int], verdict: DeliveryResult | None, heard: int) -> None:
    """Attempts go on until 2xx or 410, with one id and body and a signature each."""
    app = App(lambda number: plan[number])
    async with listening(app.app), deliveries(app.url) as sender:
        if verdict is None:
            with pytest.raises(Unavailable, match="the app did not take it"):
                await sender.deliver("msg_1", BODY)
        else:
            assert await sender.deliver("msg_1", BODY) is verdict

    assert len(app.deliveries) == heard
    assert {delivery.body for delivery in app.deliveries} == {BODY}
    assert {delivery.headers["webhook-id"] for delivery in app.deliveries} == {"msg_1"}
    assert all(delivery.is_signed() for delivery in app.deliveries)


async def test_what_the_app_gets_beside_the_signature() -> None:
    """The app gets a content type and a sender, and no credential, no cookie and no coding request."""
    app = App()
    async with listening(app.app), deliveries(app.url) as sender:
        await sender.deliver("msg_1", BODY)

    (delivery,) = app.deliveries
    assert delivery.headers["content-type"] == "application/json"
    assert delivery.headers["accept-encoding"] == "identity"
    assert delivery.headers["user-agent"].startswith("fal-auth-proxy/")
    assert not {"authorization", "cookie", "x-forwarded-for"} & delivery.headers.keys()


async def test_nobody_there() -> None:
    """A refused connection is a failed try."""
    (listener,) = bound()
    url = origin(listener)
    listener.close()
    async with deliveries(url) as sender:
        with pytest.raises(Unavailable, match="ConnectError"):
            await sender.deliver("msg_1", BODY)


async def test_only_so_many_at_once() -> None:
    """One more waits a little and is refused; afterwards there is room again."""
    app = App(lambda number: 0 if number < 3 else 204)
    patient = RetrySchedule(tries=1, seconds=30.0, wait=0.05)
    async with listening(app.app), deliveries(app.url, concurrency=3, schedule=patient) as sender:
        under_way = [asyncio.create_task(sender.deliver(f"msg_{n}", BODY)) for n in range(3)]
        await until(lambda: app.under_way == 3)
        with pytest.raises(Overloaded):
            await sender.deliver("msg_more", BODY)
        for one in under_way:
            one.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        verdicts = [await sender.deliver(f"msg_{n}", BODY) for n in range(4)]

    assert verdicts == [DeliveryResult.DELIVERED] * 4
    assert app.most_at_once <= 4


async def test_a_burst_waits_for_its_turn() -> None:
    """More than there may be at once, but soon over: all are delivered, never too many at a time."""
    app = App()
    async with listening(app.app), deliveries(app.url, concurrency=2) as sender:
        verdicts = await asyncio.gather(*(sender.deliver(f"msg_{n}", BODY) for n in range(30)))

    assert verdicts == [DeliveryResult.DELIVERED] * 30
    assert app.most_at_once <= 2


async def test_the_app_behind_tls() -> None:
    """A server without a certificate of the given authority gets no byte of the message."""
    authority, stranger = trustme.CA(), trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting, wary = tls_context(), tls_context()
    authority.configure_trust(trusting)
    stranger.configure_trust(wary)
    app = App()
    (front,) = bound()
    url = f"https://127.0.0.1:{front.getsockname()[1]}/hooks/fal"
    async with listening(app.app) as behind:
        port = int(behind.rpartition(":")[2])
        async with (
            tls_front(front, server, ("127.0.0.1", port)),
            deliveries(url, tls=trusting) as sender,
            deliveries(url, tls=wary) as careful,
        ):
            with pytest.raises(Unavailable, match="ConnectError"):
                await careful.deliver("msg_1", BODY)
            refused = len(app.deliveries)
            verdict = await sender.deliver("msg_1", BODY)

    assert (refused, verdict, len(app.deliveries)) == (0, DeliveryResult.DELIVERED, 1)


@pytest.mark.serial
async def test_an_endless_answer_is_not_read() -> None:
    """The status is all we want: an app that never ends its answer holds nothing up."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server, deliveries(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as sender:
        started = time.monotonic()
        verdict = await sender.deliver("msg_1", BODY)
        took = time.monotonic() - started

    assert verdict is DeliveryResult.DELIVERED
    assert took < SCHEDULE.seconds


def test_how_long_one_can_take() -> None:
    """All tries and all pauses between them: what has to fit into fal's patience."""
    assert RetrySchedule(tries=3, seconds=3.0, pause=0.25).total_seconds == 11.75
    assert RetrySchedule(tries=1, seconds=5.0, pause=0.25, wait=1.0).total_seconds == 6.0
