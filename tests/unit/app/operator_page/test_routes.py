from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from support.in_process_gateway import (
    ENDPOINT,
    FAL_KEY,
    INPUT,
    ISSUER,
    QUEUED,
    SESSION_SECRET,
    LocalGateway,
    open_gateway,
    reply,
    token,
)

from proxy.app.operator_page import ledger_view
from proxy.app.operator_page.files import operator_files
from proxy.app.process.admin_listener import AdminListener
from proxy.auth.caller import caller_key
from proxy.strict_json import Json

BUDGET = {"name": "daily", "per": "user", "window": "day", "limit": 5}
PRICED = {"id": ENDPOINT, "price": "2"}


@asynccontextmanager
async def operated(gateway: LocalGateway) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the admin listener of *gateway*, which is started."""
    app = AdminListener(gateway.application, None).app
    async with (
        gateway.application.public.router.lifespan_context(gateway.application.public),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:9090") as client,
    ):
        yield client


async def data(client: httpx2.AsyncClient) -> dict[str, Json]:
    return dict((await client.get("/operator/data.json")).json())


async def test_the_page_is_strict(tmp_path: Path) -> None:
    """Page, script and data have a strict policy or are plain data, and no other method than GET is there."""
    with open_gateway(tmp_path) as gateway:
        async with operated(gateway) as client:
            page, policy = await client.get("/"), operator_files()["/"]
            answers = [await client.get(path) for path in (*operator_files(), "/operator/configuration.json")]
            posted = await client.post("/operator/data.json")
            missing = await client.get("/operator/other")

    assert page.content == policy.body
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-content-type-options"] for answer in answers} == {"nosniff"}
    assert {answer.headers["cross-origin-resource-policy"] for answer in answers} == {"same-origin"}
    assert answers[-1].headers["cache-control"] == "no-store, private"
    assert (posted.status_code, missing.status_code) == (405, 404)


async def test_the_data_of_some_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests, refusals, spend, jobs and waits are counted; users are digests; no payload, no key."""
    monkeypatch.setattr(ledger_view, "MIN_AGE", 0.0)
    monkeypatch.setattr(ledger_view, "REPORT_SHARE", 0)
    with open_gateway(tmp_path, reply(QUEUED), endpoints=[PRICED], budgets=[BUDGET], limits=[]) as gateway:
        async with operated(gateway) as client, gateway.client() as alice:
            for _ in range(3):
                await alice.post(f"/api/fal/queue/{ENDPOINT}", json=INPUT)
            await alice.get("/api/fal/queue/other/model/requests/x/status")
            text = (await client.get("/operator/data.json")).text
            configuration = (await client.get("/operator/configuration.json")).text
    found = json.loads(text)

    assert found["requests"]["by_status"] == {"200": 2, "402": 1, "403": 1}
    assert {row["error_type"] for row in found["refusals"]} == {"budget_exceeded", "endpoint_not_listed"}
    assert (found["spend"]["used"], found["spend"]["reserved"], found["jobs"]["live"]) == (0, 4, 2)
    assert [row["user"] for row in found["spend"]["users"]] == [caller_key(ISSUER, "alice")]
    assert found["jobs"]["newest"][0]["state"] == "queued"
    assert [row["action"] for row in found["fal"]["operations"]] == ["submit"]
    assert found["recent"][0]["error_type"] == "endpoint_not_listed"
    assert (found["names"], found["shows_users"], found["service"]["ready"]) == ({}, False, True)
    assert found["reload"]["generation"] == 1
    for secret in (FAL_KEY, SESSION_SECRET, INPUT["prompt"], INPUT["image_url"], token()[:40], "alice"):
        assert secret not in text + configuration


async def test_users_are_shown_where_the_operator_wants_it(tmp_path: Path) -> None:
    """With `show_users` the data has issuer and subject of the users in it."""
    with open_gateway(tmp_path, admin={"show_users": True}) as gateway:
        async with operated(gateway) as client, gateway.client() as alice:
            await alice.post(f"/api/fal/queue/{ENDPOINT}", json=INPUT)
            found = await data(client)

    assert found["names"] == {caller_key(ISSUER, "alice"): {"issuer": ISSUER, "subject": "alice"}}


async def test_a_defect_is_not_quoted(tmp_path: Path) -> None:
    """The reason of an internal error may hold a value of the request, so it is in the log alone."""
    with open_gateway(tmp_path, RuntimeError("a cat")) as gateway:
        async with operated(gateway) as client, gateway.client() as alice:
            await alice.post(f"/api/fal/queue/{ENDPOINT}", json=INPUT)
            text = (await client.get("/operator/data.json")).text

    assert json.loads(text)["recent"][0]["error_type"] == "internal_error"
    assert "a cat" not in text


@pytest.mark.parametrize("path", ["/", "/operator/data.json", "/operator/configuration.json", "/playground/style.css"])
async def test_the_host_is_checked_everywhere(tmp_path: Path, path: str) -> None:
    """A name that DNS could lead here is refused; the metrics, which name no user, are served."""
    with open_gateway(tmp_path) as gateway:
        async with operated(gateway) as client:
            refused = await client.get(path, headers={"host": "evil.test"})
            metrics = await client.get("/metrics", headers={"host": "gateway.svc"})

    assert (refused.status_code, metrics.status_code) == (400, 200)
    assert refused.json()["error_type"] == "malformed_request"


async def test_data_is_collected_once_for_many_pages(tmp_path: Path) -> None:
    """Requests within a second get the same data."""
    with open_gateway(tmp_path) as gateway:
        async with operated(gateway) as client, gateway.client() as alice:
            first = await data(client)
            await alice.get("/healthz")
            second = await data(client)

    assert first == second
