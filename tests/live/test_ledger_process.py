"""Ledger of a running gateway: closed tabs, a second process, a kill, and commands beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from support.gateway_process import PATIENCE, Rig, until
from support.in_process_gateway import APP, AUDIENCE, ENDPOINT, ENVIRON, INPUT, ISSUER, token
from support.sandbox import data_uri, png

from proxy.billing.ledger import looks
from proxy.billing.ledger.memory import open_jobs

PRICED = [{"id": ENDPOINT, "price": "input.num_images"}]
DAILY = [{"name": "daily", "per": "user", "window": "day", "limit": 100}]
SLOTS = [{"name": "jobs", "per": "user", "limit": 4}]
FAL_PROXY = Path(sys.executable).with_name("fal-proxy")


def submit(client: httpx2.Client) -> httpx2.Response:
    return client.post(f"queue/{ENDPOINT}", json={**INPUT, "image_url": data_uri(png())})


def test_a_closed_tab_locks_no_user_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four jobs that ended without a poll are settled before the fifth submit is refused, the rest later."""
    for module in (looks, open_jobs):
        monkeypatch.setattr(module, "FIRST_LOOK", 15.0)
    with Rig(tmp_path) as rig:
        fal = rig.sandbox()
        gateway = rig.gateway(fal.queue, endpoints=PRICED, budgets=DAILY, in_flight=SLOTS)
        with gateway.client() as alice:
            assert [submit(alice).status_code for _ in range(4)] == [200] * 4
            time.sleep(1.0)  # the tab is closed, and the jobs end
            fifth = submit(alice)
            usage = alice.get("usage").json()

            assert fifth.status_code == 200
            assert usage["in_flight"][0]["used"] == 2
            assert usage["budgets"][0]["used"] == 3.0
            until(lambda: alice.get("usage").json()["in_flight"][0]["used"] == 0, seconds=100)
            usage = alice.get("usage").json()
        assert (usage["budgets"][0]["used"], usage["budgets"][0]["reserved"]) == (5.0, 0.0)
        assert gateway.metric("fal_proxy_reconciler_settled_total") == 5.0
        assert gateway.metric("fal_proxy_reconciler_errors_total") == 0.0


def config(home: Path, port: int, upstream: str) -> Path:
    file = home / f"{port}.toml"
    file.write_text(f"""
limits = []

[server]
public_origin = "http://127.0.0.1:{port}"
port = {port}
drain_seconds = 0

[admin]
port = 0

[fal]
queue_origin = "{upstream}"
run_origin = "{upstream}"
rest_origin = "{upstream}"

[ledger]
path = "ledger.db"
lock_seconds = 1

[[sessions]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithm = "HS256"
secret_env = "SESSION_SECRET"

[[endpoints]]
id = "{ENDPOINT}"
price = "input.num_images"

[[budgets]]
name = "daily"
per = "user"
window = "day"
limit = 100
""")
    return file


@contextmanager
def serving(file: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [FAL_PROXY, "serve", file],
        env={**os.environ, **ENVIRON},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def ready(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=2.0, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def client(port: int) -> httpx2.Client:
    return httpx2.Client(
        base_url=f"http://127.0.0.1:{port}/api/fal/",
        headers={"authorization": f"Bearer {token()}"},
        timeout=PATIENCE,
        trust_env=False,
    )


def fal_proxy(*arguments: object) -> str:
    done = subprocess.run(
        [FAL_PROXY, *map(str, arguments)],
        env={**os.environ, **ENVIRON},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return done.stdout


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    """A second process is not ready while it waits for the file, then ends with status 1 and its name."""
    with Rig(tmp_path) as rig:
        fal, first, second = rig.sandbox(), free_port(), free_port()
        with serving(config(tmp_path, first, fal.queue)):
            until(lambda: ready(first))
            with serving(config(tmp_path, second, fal.queue)) as refused:
                assert refused.wait(PATIENCE) == 1
                assert refused.stderr is not None
                output = refused.stderr.read()
                assert "ledger.db is in use by another process" in output
                assert "Traceback" not in output
            with client(first) as alice:
                assert submit(alice).status_code == 200


def test_commands_beside_a_running_gateway(tmp_path: Path) -> None:
    """Without a restart a job is refunded, a credit and a block take effect, and usage reads the file."""
    with Rig(tmp_path) as rig:
        fal, port = rig.sandbox(), free_port()
        file = config(tmp_path, port, fal.queue)
        with serving(file), client(port) as alice:
            until(lambda: ready(port))
            job = submit(alice).json()["request_id"]
            shown = json.loads(fal_proxy("job", "show", job, "--config", file))
            refunded = json.loads(fal_proxy("job", "refund", job, "--config", file))
            fal_proxy("credit", "grant", ISSUER, "alice", "daily", "5", "--config", file)
            left = alice.get("usage").json()["budgets"][0]["left"]
            fal_proxy("user", "block", ISSUER, "alice", "--config", file)
            blocked = submit(alice)
            fal_proxy("user", "unblock", ISSUER, "alice", "--config", file)
            admitted = submit(alice)
            (line,) = json.loads(fal_proxy("usage", file, "--json"))

    assert (shown["state"], shown["reserved"]) == ("queued", 1.0)
    assert shown["job"].startswith(f"{APP}/")
    assert (refunded["state"], refunded["price"]) == ("cancelled", 0.0)
    assert left == 105.0
    assert (blocked.status_code, blocked.json()["error_type"]) == (403, "user_blocked")
    assert admitted.status_code == 200
    assert (line["submits"], line["refunded"]) == (2, 1.0)


def test_a_killed_gateway_starts_again_at_once(tmp_path: Path) -> None:
    """The kernel releases the lock with the process; reservations, jobs and budgets are as they were."""
    with Rig(tmp_path) as rig:
        fal, port = rig.sandbox(), free_port()
        file = config(tmp_path, port, fal.queue)
        with serving(file) as killed, client(port) as alice:
            until(lambda: ready(port))
            assert [submit(alice).status_code for _ in range(3)] == [200] * 3
            killed.send_signal(signal.SIGKILL)
            killed.wait(PATIENCE)
        with serving(file), client(port) as alice:
            until(lambda: ready(port))
            usage = alice.get("usage").json()["budgets"][0]
            jobs = alice.get("jobs").json()["jobs"]

    assert usage["used"] + usage["reserved"] == 3.0
    assert len(jobs) == 3
