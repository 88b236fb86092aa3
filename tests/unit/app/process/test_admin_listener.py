from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import orjson
import pytest
from starlette.types import ASGIApp
from support.in_process_gateway import ENDPOINT, INPUT, ISSUER, LocalGateway, open_gateway

from proxy.app.process.admin_listener import AdminListener

COUNTED = 'fal_proxy_requests_total{action="health",endpoint="none",status="200"}'


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder with a short name: the path of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as name:
        yield name


async def read(app: ASGIApp, path: str) -> str:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return (await client.get(path)).text


async def served(gateway: LocalGateway, requests: int) -> LocalGateway:
    async with gateway.client() as caller:
        for _ in range(requests):
            await caller.get("/healthz")
        await caller.post(f"/api/fal/queue/{ENDPOINT}", json=INPUT)
    return gateway


async def test_one_worker_answers_for_all(folder: str, tmp_path: Path) -> None:
    """The values of a live worker are fetched, those of an ended one read; a dead socket is passed over."""
    admin = {"show_users": True}
    (tmp_path / "a").mkdir()
    with open_gateway(tmp_path, admin=admin) as one, open_gateway(tmp_path / "a", admin=admin) as two:
        other = AdminListener((await served(one, 10)).application, folder)
        await other.start("127.0.0.1", 0)
        (socket,) = Path(folder).glob("*.sock")  # noqa: ASYNC240
        socket.rename(Path(folder) / "1.sock")
        (Path(folder) / "2.sock").touch()
        queried = AdminListener((await served(two, 1)).application, folder)
        live = await read(queried.app, "/metrics")
        data = orjson.loads(await read(queried.app, "/operator/data.json"))
        await other.stop(0.1)
        ended = await read(queried.app, "/metrics")
        later = AdminListener(two.application, folder)
        (Path(folder) / "9.report").write_text("{}")
        data_of_ended = orjson.loads(await read(later.app, "/operator/data.json"))
        await one.application.stop()
        await two.application.stop()

    assert f"{COUNTED} 11.0\n" in live
    assert f"{COUNTED} 11.0\n" in ended
    assert (data["requests"]["total"], len(data["workers"])) == (13, 2)
    assert (data_of_ended["requests"]["total"], len(data_of_ended["workers"])) == (13, 1)
    assert [name["issuer"] for name in data["names"].values()] == [ISSUER]


async def test_a_single_process_has_no_folder(tmp_path: Path) -> None:
    """A single process exposes its own metrics unchanged."""
    with open_gateway(tmp_path) as gateway:
        listener = AdminListener((await served(gateway, 2)).application, None)
        await listener.start("127.0.0.1", 0)
        text = await read(listener.app, "/metrics")
        await listener.stop(0.1)
        await gateway.application.stop()

    assert f"{COUNTED} 2.0\n" in text
