"""The ledger's SQLite file: its tables, and how it is opened.

A ticket is an open reservation, a hold one of the buckets it draws on. What has ended is removed, so nothing can end
twice. Of a claim NULL is the answer that is not there yet.
"""

from __future__ import annotations

import os
import sqlite3

OLDEST = (3, 38, 0)  # STRICT tables, UPDATE FROM and the JSON functions are all there
APPLICATION = 0x66616C70  # in the file's header, where `file` and other programs look: "falp"
VERSION = 1

TABLES = (
    """
    CREATE TABLE ticket (
        id TEXT PRIMARY KEY,
        job TEXT,
        day TEXT NOT NULL,
        caller TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        amount INTEGER NOT NULL CHECK (amount >= 0),
        said TEXT NOT NULL,
        until REAL NOT NULL,
        spent INTEGER CHECK (spent BETWEEN 0 AND amount),
        overrun INTEGER NOT NULL DEFAULT 0,
        swept INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX ticket_by_job ON ticket (job) WHERE job IS NOT NULL",
    "CREATE INDEX ticket_by_until ON ticket (until)",
    """
    CREATE TABLE hold (
        ticket TEXT NOT NULL,
        account TEXT NOT NULL,
        bucket INTEGER NOT NULL,
        PRIMARY KEY (ticket, account)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE bucket (
        account TEXT NOT NULL,
        id INTEGER NOT NULL,
        used INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0),
        reserved INTEGER NOT NULL CHECK (reserved >= 0),
        until REAL NOT NULL,
        PRIMARY KEY (account, id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX bucket_by_until ON bucket (until)",
    """
    CREATE TABLE seat (
        account TEXT NOT NULL,
        ticket TEXT NOT NULL,
        job TEXT,
        until REAL NOT NULL,
        PRIMARY KEY (account, ticket)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX seat_by_ticket ON seat (ticket)",
    "CREATE INDEX seat_by_job ON seat (job) WHERE job IS NOT NULL",
    """
    CREATE TABLE claim (
        key TEXT PRIMARY KEY,
        body_hash TEXT NOT NULL,
        owner TEXT NOT NULL,
        answer TEXT,
        held_until REAL NOT NULL,
        until REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX claim_by_until ON claim (until)",
    """
    CREATE TABLE day (
        day TEXT NOT NULL,
        caller TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        submits INTEGER NOT NULL DEFAULT 1,
        used INTEGER NOT NULL DEFAULT 0 CHECK (used >= 0),
        reserved INTEGER NOT NULL CHECK (reserved >= 0),
        refunded INTEGER NOT NULL DEFAULT 0,
        unsettled INTEGER NOT NULL DEFAULT 0,
        overrun INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (day, caller, endpoint)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE pulse (beats INTEGER NOT NULL) STRICT",
    "INSERT INTO pulse VALUES (0)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)

PATIENCE = 5.0  # seconds to wait for another process that has the file open: only once, before there are any callers


def connect(path: str, *, busy: float) -> sqlite3.Connection:
    """Opens the ledger at *path*, or makes it, for use by one thread at a time, which need not be the calling one.

    *busy* seconds are how long a statement waits for other processes. Raises ValueError, naming the file, where it is
    no ledger, is one of another schema, or cannot be opened.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise ValueError(f"the ledger needs SQLite {'.'.join(map(str, OLDEST))}, this is {sqlite3.sqlite_version}")
    try:
        return _opened(path, busy)
    except (OSError, sqlite3.Error) as error:
        raise ValueError(f"the ledger {path} cannot be opened: {error}") from error


def _opened(path: str, busy: float) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    ready = False
    try:
        _make_or_check(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA busy_timeout = {int(busy * 1000)}")
        ready = True
    finally:
        if not ready:
            db.close()
    return db


def _make_or_check(db: sqlite3.Connection, path: str) -> None:
    db.execute("BEGIN IMMEDIATE")  # two processes may come to a new file together
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (objects,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not application and not version and not objects:
        if path != ":memory:":
            # Who spent what is nobody else's business; the -wal and -shm files take this mode too. By name: closing a
            # second descriptor of the file would give up the locks SQLite holds on it.
            os.chmod(path, 0o600)
        for statement in TABLES:
            db.execute(statement)
    elif application != APPLICATION:
        raise ValueError(f"{path} is a database, but not a ledger")
    elif version != VERSION:
        raise ValueError(f"the ledger {path} has schema {version}, this release needs {VERSION}: use another file")
    db.execute("COMMIT")
