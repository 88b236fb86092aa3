from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.billing.ledger.sqlite_schema import APPLICATION, VERSION, connect


def executed(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def test_a_new_file() -> None:
    """Memory is made anew each time."""
    db = connect(":memory:", busy=0.1)

    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    db.close()


def test_a_file_is_kept_safe(tmp_path: Path) -> None:
    """In WAL, synced at every commit, waiting for others as long as told; readable by its owner only, its log too."""
    path = tmp_path / "ledger.db"
    db = connect(str(path), busy=0.25)
    asked = {
        name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "busy_timeout")
    }
    db.execute("UPDATE pulse SET beats = 1")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    db.close()

    assert asked == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 250}
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}


def test_a_file_is_found_again(tmp_path: Path) -> None:
    """Opened a second time, also while the first has it open, it is the same."""
    path = str(tmp_path / "ledger.db")
    first = connect(path, busy=0.1)
    first.execute("UPDATE pulse SET beats = 7")
    second = connect(path, busy=0.1)

    assert second.execute("SELECT beats FROM pulse").fetchone() == (7,)
    first.close()
    second.close()


def directory(path: Path) -> None:
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("a shopping list " * 100)


def foreign(path: Path) -> None:
    executed(path, "CREATE TABLE shopping (item TEXT)")


def others_version(path: Path) -> None:
    executed(path, "PRAGMA user_version = 3")


def newer(path: Path) -> None:
    executed(path, f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {VERSION + 1}")


def nothing(path: Path) -> None:
    path.parent.rmdir()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (directory, "unable to open database file"),
        (text, "file is not a database"),
        (foreign, "is a database, but not a ledger"),
        (others_version, "is a database, but not a ledger"),
        (newer, f"has schema {VERSION + 1}, this release needs {VERSION}"),
        (nothing, "unable to open database file"),
    ],
)
def test_a_file_that_is_no_good(tmp_path: Path, made: Callable[[Path], None], message: str) -> None:
    """Refused at once, by name, and left as it was."""
    path = tmp_path / "data" / "ledger.db"
    path.parent.mkdir()
    made(path)
    before = path.read_bytes() if path.is_file() else None

    with pytest.raises(ValueError, match=message) as refused:
        connect(str(path), busy=0.1)
    assert str(path) in str(refused.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_an_old_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lacks what the ledger is written in, and that is said."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))

    with pytest.raises(ValueError, match=r"the ledger needs SQLite 3\.38\.0"):
        connect(":memory:", busy=0.1)


def test_many_come_to_a_new_file_together(tmp_path: Path) -> None:
    """One makes it, all open it."""
    path = str(tmp_path / "ledger.db")
    barrier = threading.Barrier(8)
    opened: list[sqlite3.Connection] = []

    def come() -> None:
        barrier.wait()
        opened.append(connect(path, busy=0.1))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = [db.execute("SELECT count(*) FROM pulse").fetchone() for db in opened]
    for db in opened:
        db.close()

    assert answers == [(1,)] * 8
