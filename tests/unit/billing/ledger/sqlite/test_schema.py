from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from proxy.billing.ledger.sqlite.schema import (
    APPLICATION,
    UPGRADES,
    VERSION,
    back_up,
    check_path,
    damaged_tables,
    open_readonly,
    open_writer,
)


def executed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_a_new_file_has_the_current_schema(tmp_path: Path) -> None:
    """A new file has the newest version, and no damage."""
    with closing(open_writer(str(tmp_path / "ledger.db"))) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert damaged_tables(db) == {}


def test_a_file_is_durable_and_private(tmp_path: Path) -> None:
    """A file is in WAL mode, synced at every commit, and readable by its owner only, as is its log."""
    path = tmp_path / "ledger.db"
    with closing(open_writer(str(path))) as db:
        pragmas = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
        db.execute("UPDATE journal SET number = 1")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}

    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}


def test_a_file_is_opened_again(tmp_path: Path) -> None:
    """A second opening changes nothing in the file."""
    path = str(tmp_path / "ledger.db")
    with closing(open_writer(path)) as db:
        db.execute("UPDATE journal SET number = 7")
    check_path(path)
    with closing(open_writer(path)) as db:
        assert db.execute("SELECT number FROM journal").fetchone() == (7,)


def directory(path: Path) -> None:
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("a shopping list " * 100)


def foreign(path: Path) -> None:
    executed(path, "CREATE TABLE shopping (item TEXT)")


def other_version(path: Path) -> None:
    executed(path, "PRAGMA user_version = 3")


def newer(path: Path) -> None:
    executed(path, f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {VERSION + 1}")


def nothing(path: Path) -> None:
    path.parent.rmdir()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (directory, "is a directory"),
        (text, "file is not a database"),
        (foreign, "is a database, but not a ledger"),
        (other_version, "is a database, but not a ledger"),
        (newer, f"has schema {VERSION + 1}, this release knows up to {VERSION}"),
        (nothing, "there is no directory"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, made: Callable[[Path], None], message: str) -> None:
    """A file that is no ledger is refused at once, by name, and left as it was."""
    path = tmp_path / "data" / "ledger.db"
    path.parent.mkdir()
    made(path)
    before = path.read_bytes() if path.is_file() else None

    with pytest.raises(ValueError, match=message) as refused:
        check_path(str(path))
    assert str(path) in str(refused.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_check_path_creates_nothing(tmp_path: Path) -> None:
    """A path that is free is good, and stays free."""
    check_path(str(tmp_path / "ledger.db"))

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="there is no ledger"):
        open_readonly(str(tmp_path / "ledger.db"))


def test_an_old_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite without what the ledger needs is refused with the version that it needs."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))

    with pytest.raises(ValueError, match=r"the ledger needs SQLite 3\.38\.0"):
        check_path(str(tmp_path / "ledger.db"))


STEPS: Mapping[int, Sequence[str]] = {
    **UPGRADES,
    VERSION: ("ALTER TABLE blocked ADD COLUMN reason TEXT",),
    VERSION + 1: ("UPDATE blocked SET reason = 'none'",),
}


def test_an_upgrade_keeps_a_backup_for_each_step(tmp_path: Path) -> None:
    """A file of an older version is upgraded step by step, each after a backup of the version before."""
    path = str(tmp_path / "ledger.db")
    with closing(open_writer(path)) as db:
        db.execute("INSERT INTO blocked VALUES ('alice')")
    with closing(open_writer(path, upgrades=STEPS)) as db:
        assert db.execute("SELECT * FROM blocked").fetchall() == [("alice", "none")]
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION + 2,)
    for version, columns in ((VERSION, 1), (VERSION + 1, 2)):
        with closing(sqlite3.connect(f"{path}.v{version}.bak")) as backup:
            assert backup.execute("PRAGMA user_version").fetchone() == (version,)
            assert len(backup.execute("SELECT * FROM blocked").fetchall()[0]) == columns


def test_a_failed_upgrade_changes_nothing(tmp_path: Path) -> None:
    """A step is done whole or not at all; the file stays usable by the older release."""
    path = str(tmp_path / "ledger.db")
    open_writer(path).close()
    with pytest.raises(ValueError, match="cannot be opened"):
        open_writer(path, upgrades={VERSION: ("ALTER TABLE blocked ADD COLUMN reason TEXT", "not a statement")})
    with closing(open_writer(path)) as db:
        assert db.execute("SELECT * FROM blocked").description is not None
        assert len(db.execute("PRAGMA table_info(blocked)").fetchall()) == 1


def test_a_backup_of_a_ledger_in_use(tmp_path: Path) -> None:
    """A backup is a ledger of its own, private, and never overwrites a file."""
    path, target = str(tmp_path / "ledger.db"), str(tmp_path / "copy.db")
    with closing(open_writer(path)) as db:
        db.execute("INSERT INTO blocked VALUES ('alice')")
        back_up(path, target)
    with closing(open_readonly(target)) as copy:
        assert copy.execute("SELECT * FROM blocked").fetchall() == [("alice",)]
    assert stat.S_IMODE(Path(target).stat().st_mode) == 0o600
    with pytest.raises(ValueError, match="exists already"):
        back_up(path, target)
