from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.testclient import TestClient
from support.gateway_process import Rig
from support.in_process_gateway import ENDPOINT, ENVIRON, INPUT, ORIGIN, document, token

from proxy.app import create_app, create_metrics_app
from proxy.config.loader import Config, read
from proxy.errors import ConfigError
from proxy.sandbox.settings import SandboxSettings

BUDGET = {"name": "today", "per": "user", "window": "day", "limit": 5}


@contextmanager
def configured(folder: Path, **sections: object) -> Iterator[Config]:
    """A configuration in front of a sandbox whose jobs stay queued, with a ledger file in *folder*."""
    with Rig(folder) as rig:
        sandbox = rig.sandbox(SandboxSettings(queue_seconds=3600))
        yield read(
            document(
                fal={"queue_origin": sandbox.queue, "run_origin": sandbox.run, "rest_origin": sandbox.rest},
                endpoints=[{"id": ENDPOINT, "price": "1"}],
                budgets=[BUDGET],
                ledger={"path": str(folder / "ledger.db")},
                **sections,
            ),
            ENVIRON,
            base=folder,
        )


def mounted(app: Starlette, path: str) -> FastAPI:
    host = FastAPI()
    host.mount(path, app)
    return host


def submit_and_poll(client: TestClient, prefix: str) -> None:
    """Submits, reads the status at the URL of the answer, and the caller's usage."""
    client.headers["authorization"] = f"Bearer {token()}"
    job = client.post(f"{prefix}/queue/{ENDPOINT}", json=INPUT)
    assert job.status_code == 200, job.text
    assert job.json()["status_url"].startswith(f"{ORIGIN}{prefix}/queue/")
    assert client.get(job.json()["status_url"].removeprefix(ORIGIN)).status_code == 202
    (budget,) = client.get(f"{prefix}/usage").json()["budgets"]
    assert budget["left"] == 4


@pytest.mark.parametrize("lifespan", [True, False], ids=["lifespan", "no-lifespan"])
@pytest.mark.parametrize(
    ("mount", "prefix"),
    [("", "/api/fal"), ("/api/fal", "/api/fal"), ("/own", "/own/api/fal")],
    ids=["root", "at", "below"],
)
def test_it_works_where_it_is_mounted(tmp_path: Path, mount: str, prefix: str, *, lifespan: bool) -> None:
    """URLs follow the mount, and the first request starts the gateway where no lifespan has run.

    Without the test client's own context each request has an event loop of its own; the budget is kept over them.
    """
    with configured(tmp_path) as config:
        app = create_app(config)
        client = TestClient(mounted(app, mount) if mount else app)
        if lifespan:
            with client:
                submit_and_poll(client, prefix)
        else:
            submit_and_poll(client, prefix)
        assert client.get(f"{mount}/healthz").status_code == 200


def test_a_lifespan_can_follow_another(tmp_path: Path) -> None:
    """An application that was stopped starts again, on the same ledger."""
    with configured(tmp_path) as config:
        app = create_app(config)
        with TestClient(app) as client:
            submit_and_poll(client, "/api/fal")
        with TestClient(app) as client:
            usage = client.get("/api/fal/usage", headers={"authorization": f"Bearer {token()}"})

    assert usage.json()["budgets"][0]["left"] == 4


def test_the_metrics_are_an_application_of_their_own(tmp_path: Path) -> None:
    """The metrics are not served by the gateway itself, and can be mounted elsewhere."""
    with configured(tmp_path) as config:
        app = create_app(config)
        metrics = create_metrics_app(app)
        with TestClient(app) as client:
            client.get("/healthz")
            hidden = client.get("/metrics").status_code
            shown = TestClient(metrics).get("/metrics").text

    assert hidden == 404
    assert "fal_proxy_requests_total" in shown


@pytest.mark.parametrize("variable", ["WEB_CONCURRENCY", "UVICORN_WORKERS"])
def test_several_processes_need_a_shared_store(variable: str) -> None:
    """The start is refused with the keys to change."""
    config = read(document(), {**ENVIRON, variable: "2"}, base=Path())
    with pytest.raises(ConfigError) as refused:
        create_app(config)

    assert [problem.key for problem in refused.value.problems] == ["store.kind", "ledger.kind"]


def test_the_file_is_found_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the file is the one of FAL_PROXY_CONFIG; every problem of it is reported."""
    file = tmp_path / "own.toml"
    file.write_text('[server]\npublic_origin = "https://gate.example.com"\n')
    monkeypatch.setenv("FAL_PROXY_CONFIG", str(file))
    with pytest.raises(ConfigError) as refused:
        create_app()

    assert "sessions" in {problem.key for problem in refused.value.problems}
