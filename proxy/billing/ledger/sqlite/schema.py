"""The ledger's SQLite file: its tables, how it is opened, checked, upgraded and backed up."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from proxy.billing.ledger.memory.rows import COLUMNS

OLDEST = (3, 38, 0)  # of SQLite: STRICT tables and PRAGMA quick_check of one table
APPLICATION = 0x66616C6C  # in the file's header, where `file` and other programs look: "fall"
VERSION = 1

_TYPES = {
    **dict.fromkeys(("amount", "used", "reserved", "alerted", "left_over", "price", "running", "open"), "INTEGER"),
    **dict.fromkeys(("submits", "refunded", "unsettled", "overrun"), "INTEGER"),
    **dict.fromkeys(("created", "until", "due", "looked", "rejoin", "lost_at", "held_until"), "REAL"),
    **dict.fromkeys(("expires", "ended"), "REAL"),
    "answer": "BLOB",
}
_NULLABLE = frozenset({"claim", "job", "lost_at", "answer", "expires", "price", "ended"})
_KEYS = {
    "claim": "key",
    "bucket": "account, id",
    "credit": "id",
    "blocked": "caller",
    "day": "day, caller, endpoint",
}


def _table(name: str) -> str:
    """Rows of tables without a key here are numbered in the order of their making: new ones share a page."""
    columns = []
    for column in COLUMNS[name]:
        kind = "INTEGER" if (name, column) == ("bucket", "id") else _TYPES.get(column, "TEXT")
        columns.append(f"{column} {kind}{'' if column in _NULLABLE else ' NOT NULL'}")
    if name in _KEYS:
        return f"CREATE TABLE {name} ({', '.join(columns)}, PRIMARY KEY ({_KEYS[name]})) STRICT, WITHOUT ROWID"
    return f"CREATE TABLE {name} ({', '.join(columns)}, row INTEGER PRIMARY KEY) STRICT"


TABLES = (
    *map(_table, COLUMNS),
    "CREATE INDEX claim_by_until ON claim (until)",
    "CREATE INDEX job_by_name ON job (name)",
    "CREATE INDEX job_by_caller ON job (caller, created)",
    # The number of the last group of the journal: a group is not applied twice.
    "CREATE TABLE journal (number INTEGER NOT NULL) STRICT",
    "INSERT INTO journal VALUES (0)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)

# Statements that make version n + 1 of a file with version n.
UPGRADES: Mapping[int, Sequence[str]] = {}

OPEN_TIMEOUT = 5.0  # seconds to wait for another program that has the file open: only once, at start
CACHE_KIB = 32 * 1024  # pages that the process that writes keeps in memory
READ_TIMEOUT = 0.05  # seconds that the event loop waits for a read


def check_path(path: str) -> None:
    """Raises ValueError, naming the file, where *path* cannot hold a ledger. Creates nothing."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise ValueError(f"the ledger needs SQLite {'.'.join(map(str, OLDEST))}, this is {sqlite3.sqlite_version}")
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"the ledger {path} is a directory: name a file in it")
    if not file.parent.is_dir():
        raise ValueError(f"the ledger {path} cannot be opened: there is no directory {file.parent}")
    if file.exists() and not os.access(file, os.W_OK):
        raise ValueError(f"the ledger {path} cannot be opened: the file is read-only")
    if not os.access(file.parent, os.W_OK):
        raise ValueError(f"the ledger {path} cannot be opened: its directory is read-only")
    if file.exists():
        with closing(open_readonly(path)):
            pass


def open_readonly(path: str) -> sqlite3.Connection:
    """Opens an existing ledger for reading. Raises ValueError, naming the file, for one that is none."""
    if not Path(path).exists():
        raise ValueError(f"there is no ledger {path}")
    try:
        db = sqlite3.connect(
            f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=OPEN_TIMEOUT, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise ValueError(f"the ledger {path} cannot be opened: {error}") from error
    return _checked(db, path)


def open_writer(path: str, *, upgrades: Mapping[int, Sequence[str]] = UPGRADES) -> sqlite3.Connection:
    """Opens the ledger at *path*, makes it, or upgrades it after a backup to `<path>.v<version>.bak`.

    The connection is for one thread at a time. It never waits for another program. Raises ValueError, naming the file.
    """
    try:
        db = sqlite3.connect(path, timeout=OPEN_TIMEOUT, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise ValueError(f"the ledger {path} cannot be opened: {error}") from error
    _checked(db, path, upgrades)
    try:
        _prepare(db, path, upgrades)
    except (OSError, sqlite3.Error) as error:
        db.close()
        raise ValueError(f"the ledger {path} cannot be opened: {error}") from error
    return db


def open_reader(path: str) -> sqlite3.Connection:
    """Opens a second connection, for reads that do not wait for a commit (SQLite, "WAL")."""
    db = sqlite3.connect(path, timeout=READ_TIMEOUT, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA query_only = ON")
    return db


def damaged_tables(db: sqlite3.Connection) -> dict[str, str]:
    """Returns the tables that `PRAGMA quick_check` finds damaged, and what it finds."""
    damage = {}
    for table in (*COLUMNS, "journal"):
        try:
            findings = [text for (text,) in db.execute(f"PRAGMA quick_check('{table}')")]
        except sqlite3.DatabaseError as error:
            findings = [str(error)]
        if findings != ["ok"]:
            damage[table] = findings[0]
    return damage


def back_up(path: str, target: str) -> None:
    """Copies the ledger at *path*, also one in use, to the new file *target*. Raises ValueError."""
    if Path(target).exists():
        raise ValueError(f"{target} exists already")
    with closing(open_readonly(path)) as db:
        _copy(db, target)


def _checked(db: sqlite3.Connection, path: str, upgrades: Mapping[int, Sequence[str]] = UPGRADES) -> sqlite3.Connection:
    newest = max([VERSION, *(version + 1 for version in upgrades)])
    try:
        problem = _problem(db, newest)
    except sqlite3.Error as error:
        problem = f"cannot be opened: {error}"
    if problem is not None:
        db.close()
        raise ValueError(f"the ledger {path} {problem}")
    return db


def _problem(db: sqlite3.Connection, newest: int) -> str | None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (objects,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION:
        is_new = not application and not version and not objects
        return None if is_new else "is a database, but not a ledger of this release: use another file"
    if version > newest:
        return f"has schema {version}, this release knows up to {newest}: use a newer release"
    return None


def _prepare(db: sqlite3.Connection, path: str, upgrades: Mapping[int, Sequence[str]]) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if not application:
        # The -wal and -shm files take this mode too. By name: closing a second descriptor of the file would give up
        # the locks that SQLite holds on it.
        os.chmod(path, 0o600)
        _run(db, TABLES)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    while version in upgrades:
        backup = Path(f"{path}.v{version}.bak")
        backup.unlink(missing_ok=True)
        _copy(db, str(backup))
        _run(db, (*upgrades[version], f"PRAGMA user_version = {version + 1}"))
        version += 1
    db.execute("PRAGMA journal_mode = WAL")
    # With NORMAL a power cut could take back the last minutes: charges of running jobs, and keys whose next use would
    # then pay twice.
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA busy_timeout = 0")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def _copy(db: sqlite3.Connection, target: str) -> None:
    with closing(sqlite3.connect(target)) as copy:
        os.chmod(target, 0o600)
        db.backup(copy)


def _run(db: sqlite3.Connection, statements: Sequence[str]) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in statements:
        db.execute(statement)
    db.execute("COMMIT")
