from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from support.gateway_process import PATIENCE

from proxy.app import create_app
from proxy.testing import FalGateway, FalSandbox, running_gateway

FLUX = "fal-ai/flux/dev"
INPUT = {"prompt": "a lighthouse"}


def finished(client: httpx2.Client, accepted: httpx2.Response) -> httpx2.Response:
    """Polls a job until it has ended, and returns its result."""
    assert accepted.status_code == 200, accepted.text
    end = time.monotonic() + PATIENCE
    while client.get(accepted.json()["status_url"]).status_code == 202:
        assert time.monotonic() < end
    return client.get(accepted.json()["response_url"])


def test_a_job_runs_from_submit_to_result(fal_gateway: FalGateway) -> None:
    """A caller gets a picture, and the sandbox counts one submit."""
    with fal_gateway.client() as alice:
        picture = finished(alice, alice.post(f"queue/{FLUX}", json=INPUT))

    assert picture.json()["images"][0]["url"].startswith(fal_gateway.sandbox.addresses.rest)
    assert fal_gateway.sandbox.counts.submits == 1
    assert fal_gateway.sandbox.counts.submits_by_endpoint == {FLUX: 1}


def test_users_and_sessions_are_apart(fal_gateway: FalGateway) -> None:
    """Another user's job is a 404; no token and an expired one are a 401."""
    with fal_gateway.client("alice") as alice, fal_gateway.client("bob") as bob, fal_gateway.client(None) as nobody:
        status_url = alice.post(f"queue/{FLUX}", json=INPUT).json()["status_url"]
        expired = {"authorization": f"Bearer {fal_gateway.token(lifetime=-600)}"}

        assert bob.get(status_url).status_code == 404
        assert nobody.get(status_url).status_code == 401
        assert nobody.get(status_url, headers=expired).status_code == 401


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_begins_anew(fal_gateway: FalGateway, turn: int) -> None:
    """Budgets, counts, requests and faults of one test are not in the next one."""
    with fal_gateway.client() as alice:
        left = alice.get("usage").json()["budgets"][0]["left"]
        alice.post(f"queue/{FLUX}", json=INPUT)
    submits = fal_gateway.sandbox.counts.submits
    fal_gateway.sandbox.fail("status", status=500)

    assert (left, submits, turn) == (100, 1, turn)


def test_a_fault_ends_after_its_count(fal_gateway: FalGateway) -> None:
    """The first submit fails as fal would, the next one is accepted."""
    fal_gateway.sandbox.fail("status", action="submit", status=500, count=1)
    with fal_gateway.client() as alice:
        statuses = [alice.post(f"queue/{FLUX}", json=INPUT).status_code for _ in range(2)]

    assert statuses[0] >= 500
    assert statuses[1] == 200


def test_faults_add_up_until_recovery(fal_sandbox: FalSandbox) -> None:
    """Each fault is added to those before; options that do not fit are refused."""
    fal_sandbox.fail("status", action="submit", status=500)
    fal_sandbox.fail("hang", action="status")
    active = httpx2.get(f"{fal_sandbox.addresses.control}/faults", trust_env=False).json()
    with pytest.raises(ValueError, match="after"):
        fal_sandbox.fail("latency", after=True)
    fal_sandbox.recover()

    assert [fault["kind"] for fault in active] == ["status", "hang"]
    assert httpx2.get(f"{fal_sandbox.addresses.control}/faults", trust_env=False).json() == []


def test_a_request_that_hangs_does_not_hold_the_test(fal_sandbox: FalSandbox) -> None:
    """The end of the gateway is bounded where fal never answers."""
    fal_sandbox.fail("hang", action="submit")
    with running_gateway(fal_sandbox) as gateway, gateway.client() as alice:
        with pytest.raises(httpx2.ReadTimeout):
            alice.post(f"queue/{FLUX}", json=INPUT, timeout=0.2)
        started = time.monotonic()

    assert time.monotonic() - started < PATIENCE


OWN_FILE = """
server = { public_origin = "https://app.example.com", hsts_seconds = 60, trusted_hops = 1, prefix = "/ai" }
fal = { queue_origin = "https://queue.fal.run", submit_seconds = 7 }
store = { kind = "redis" }
ledger = { kind = "redis", keep_days = 2 }
webhooks = { mode = "gateway", url = "https://app.example.com/hooks" }
endpoints = [{ id = "fal-ai/flux/dev", price = 1 }]
budgets = [{ name = "daily", per = "user", window = "day", limit = 1 }]
sessions = [
  { preset = "auth0", issuer = "https://app.eu.auth0.com/", audience = "fal" },
  { issuer = "https://app.example.com", audience = "fal-proxy", algorithms = ["HS256"], secret_env = "SESSION_SECRET" },
]
"""


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAL_KEY", "real-key-id:real-key-secret-0123456789")
    path = tmp_path / "fal-proxy.toml"
    path.write_text(OWN_FILE)
    return path


def test_the_rules_of_an_own_file_hold(fal_sandbox: FalSandbox, own_file: Path) -> None:
    """Endpoints, prefix and budgets are the file's; fal, stores and secrets are the test's."""
    with running_gateway(fal_sandbox, own_file) as gateway, gateway.client() as alice:
        statuses = [alice.post(path, json=INPUT).status_code for path in (f"queue/{FLUX}", "queue/fal-ai/veo3.1")]
        spent = alice.post(f"queue/{FLUX}", json=INPUT)

    assert gateway.url.endswith("/ai")
    assert statuses == [200, 403]
    assert (spent.status_code, spent.json()["error_type"]) == (402, "budget_exceeded")
    assert gateway.config.fal.submit_seconds == 7
    assert gateway.config.sessions[0].issuer == "https://app.example.com"


def test_a_real_key_of_fal_is_never_used(fal_sandbox: FalSandbox, own_file: Path) -> None:
    """The key of the environment reaches neither the configuration nor the sandbox."""
    config = fal_sandbox.configure(own_file)
    with running_gateway(fal_sandbox, own_file) as gateway, gateway.client() as alice:
        alice.post(f"queue/{FLUX}", json=INPUT)

    assert "real-key" not in repr(dict(config.environ))
    assert [dict(request.headers)["authorization"] for request in fal_sandbox.requests] == ["accepted"]


def test_a_mounted_gateway_uses_the_sandbox(fal_sandbox: FalSandbox) -> None:
    """An app that mounts the gateway is tested in the process of the test."""
    app = FastAPI()
    app.mount("/api/fal", create_app(fal_sandbox.configure()))
    with TestClient(app, base_url="https://testserver") as caller:
        caller.headers["authorization"] = f"Bearer {fal_sandbox.token()}"
        accepted = caller.post(f"/api/fal/queue/{FLUX}", json=INPUT)

    assert accepted.json()["status_url"].startswith("https://testserver/api/fal/queue/")
    assert fal_sandbox.counts.submits == 1


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    """pytest imports the plugin in every run: it brings no module of the gateway, nor a library."""
    code = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import proxy.testing.plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["proxy", "proxy.testing", "proxy.testing.plugin"]


def test_a_missing_name_is_an_attribute_error() -> None:
    """The package has its four names and no others."""
    with pytest.raises(ImportError):
        from proxy.testing import nothing  # noqa: F401
