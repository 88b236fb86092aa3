"""Tests of the operator page of `fal-proxy serve` over HTTP: token, Host, workers that end, reloads."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx2
from support.budgets import ENVIRON, Json, Rig, endpoint, eventually, until
from support.operator_load import page_data, send_load, two_workers

TOKEN = "a-token-of-the-operator-with-32-chars"
PAGES = ("/", "/operator/data.json", "/operator/configuration.json")


async def reload(rig: Rig, event: str) -> None:
    number = len(rig.gateway.journal(event))
    os.kill(rig.gateway.pid, signal.SIGHUP)
    await until(lambda: len(rig.gateway.journal(event)) > number)


async def test_the_figures_stay_over_a_rolling_restart(tmp_path: Path) -> None:
    """The counts of both workers are added, those of replaced workers stay, and reloads are shown."""
    async with two_workers(tmp_path) as rig:
        await send_load(rig, rounds=6)
        total = await rig.gateway.metric("fal_proxy_requests_total")
        before = await eventually(lambda: page_data(rig), lambda data: data["requests"]["total"] == total)
        await reload(rig, "reloaded")
        after = await eventually(lambda: page_data(rig), lambda data: len(data["workers"]) == 2)
        rig.config.write_text(rig.config.read_text().replace("public_origin", "public_orign"))
        await reload(rig, "reload_failed")
        refused: Json = await eventually(lambda: page_data(rig), lambda data: data["reload"]["result"] == "refused")

        pids = [{worker["pid"] for worker in data["workers"]} for data in (before, after)]
        assert pids[0].isdisjoint(pids[1])
        assert (after["requests"]["total"], after["refusals"]) == (total, before["refusals"])
        assert sum(after["bars"]["hour"]["answered"]) == sum(before["bars"]["hour"]["answered"]) > 0
        assert (after["reload"]["generation"], after["reload"]["result"]) == (2, "applied")
        assert refused["reload"]["generation"] == 2
        assert "server.public_orign" in refused["reload"]["reason"]
        assert await rig.gateway.metric('fal_proxy_reloads_total{result="applied"}') == 1
        assert await rig.gateway.metric('fal_proxy_reloads_total{result="refused"}') == 1


async def test_a_token_opens_the_page(tmp_path: Path) -> None:
    """Without the token as a bearer every address of the page is 401; metrics are open."""
    environ = {**ENVIRON, "ADMIN_TOKEN": TOKEN}
    async with two_workers(tmp_path, environ=environ, token_env="ADMIN_TOKEN") as rig, rig.caller() as alice:
        await alice.submit(endpoint(0))
        async with httpx2.AsyncClient(base_url=rig.gateway.admin, trust_env=False) as client:
            without = [await client.get(path) for path in PAGES]
            query = [await client.get(f"{path}?token={TOKEN}&authorization={TOKEN}") for path in PAGES]
            cookie = [await client.get(path, headers={"cookie": f"token={TOKEN}"}) for path in PAGES]
            bearer = [await client.get(path, headers={"authorization": f"Bearer {TOKEN}"}) for path in PAGES]
            basic = [await client.get(path, auth=("me", TOKEN)) for path in PAGES]
            rebound = await client.get("/", headers={"host": "evil.test", "authorization": f"Bearer {TOKEN}"})
            metrics = await client.get("/metrics")
        log = rig.gateway.printed()

    assert {answer.status_code for answer in (*without, *query, *cookie)} == {401}
    assert {answer.headers["www-authenticate"][:12] for answer in without} == {"Basic realm="}
    assert {answer.status_code for answer in (*bearer, *basic)} == {200}
    assert (rebound.status_code, metrics.status_code) == (400, 200)
    secrets = {*environ.values(), rig.environ["FAL_PROXY_REDIS_URL"]}
    assert [secret for secret in secrets if any(secret in answer.text for answer in bearer)] == []
    assert TOKEN not in log + metrics.text
    assert "fal_proxy_requests_total" in metrics.text


async def test_a_reachable_listener_without_a_token_has_no_page(tmp_path: Path) -> None:
    """On a host that others can reach the page is off, and the metrics stay."""
    async with (
        two_workers(tmp_path, host="0.0.0.0") as rig,
        httpx2.AsyncClient(base_url=rig.gateway.admin, trust_env=False) as client,
    ):
        statuses = [(await client.get(path)).status_code for path in (*PAGES, "/metrics")]

    assert statuses == [404, 404, 404, 200]
