"""What a ledger does, as SQL: a group of steps is ONE statement for SQLite, done as a whole or not at all.

Steps are rows inserted into the view `step`, as Redis is handed a script, and what they say is rows of `answer`. A step
first says, then does; it sees what those before it did. Not a dozen statements for each from Python: the thread loses
the interpreter lock at every one, and would wait thousands of times a group for a busy event loop to give it back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import accumulate, chain

PERFORM = "INSERT INTO step SELECT key, value ->> 'does', value FROM json_each(?)"
START = '{"does":"start"}'
ANSWERS = "SELECT json_group_object(step, said) FROM answer"

# TEMP: what is done belongs to the program, not to the file.
STEPS = (
    "CREATE TEMP TABLE answer (step INTEGER PRIMARY KEY, said TEXT NOT NULL)",
    "CREATE TEMP VIEW step AS SELECT 0 AS id, '' AS does, '' AS args",
    """
    CREATE TEMP TRIGGER start INSTEAD OF INSERT ON step WHEN NEW.does = 'start' BEGIN
        DELETE FROM answer;
    END
    """,
    # What the next step to reserve or to tell standings is about, one row for each charge and seat. Of seats *used* are
    # those taken and the bucket is NULL.
    """
    CREATE TEMP TABLE allowance (
        id INTEGER PRIMARY KEY, account TEXT, bucket INTEGER, until REAL, quota INTEGER, enforce INTEGER,
        used INTEGER, reserved INTEGER
    )
    """,
    """
    CREATE TEMP TRIGGER charge INSTEAD OF INSERT ON step WHEN NEW.does = 'charge' BEGIN
        INSERT INTO allowance
            SELECT NEW.id, NEW.args ->> 'account', NEW.args ->> 'current', NEW.args ->> 'until',
                NEW.args ->> 'limit', NEW.args ->> 'enforce', coalesce(sum(used), 0), coalesce(sum(reserved), 0)
            FROM bucket
            WHERE account = NEW.args ->> 'account' AND id IN (SELECT value FROM json_each(NEW.args, '$.counted'));
    END
    """,
    """
    CREATE TEMP TRIGGER seat INSTEAD OF INSERT ON step WHEN NEW.does = 'seat' BEGIN
        INSERT INTO allowance
            SELECT NEW.id, NEW.args ->> 'account', NULL, NEW.args ->> 'until',
                NEW.args ->> 'limit', NEW.args ->> 'enforce', count(*), 0
            FROM seat WHERE account = NEW.args ->> 'account' AND until > NEW.args ->> 'now';
    END
    """,
    """
    CREATE TEMP TRIGGER standings INSTEAD OF INSERT ON step WHEN NEW.does = 'standings' BEGIN
        INSERT INTO answer SELECT NEW.id, json_group_array(json_array(used, reserved)) FROM allowance;
        DELETE FROM allowance;
    END
    """,
    # Says [[which, left, enforce], ...] for all without room: -1 is the last allowance, as Python counts. What was said
    # for a ticket that is open is said again.
    """
    CREATE TEMP TRIGGER reserve INSTEAD OF INSERT ON step WHEN NEW.does = 'reserve' BEGIN
        INSERT INTO answer
            SELECT NEW.id, json_group_array(json_array(id - NEW.id, quota - used - reserved, enforce)) FROM allowance
            WHERE quota - used - reserved < CASE WHEN bucket IS NULL THEN 1 ELSE NEW.args ->> 'amount' END;
        UPDATE answer SET said = ticket.said FROM ticket WHERE step = NEW.id AND ticket.id = NEW.args ->> 'ticket';
        INSERT INTO ticket (id, day, caller, endpoint, amount, said, until)
            SELECT NEW.args ->> 'ticket', NEW.args ->> 'day', NEW.args ->> 'caller', NEW.args ->> 'endpoint',
                NEW.args ->> 'amount', said, NEW.args ->> 'until'
            FROM answer
            WHERE step = NEW.id
                AND NOT EXISTS (SELECT 1 FROM ticket WHERE id = NEW.args ->> 'ticket')
                AND NOT EXISTS (SELECT 1 FROM json_each(said) AS short WHERE short.value ->> 2);
        DELETE FROM allowance;
    END
    """,
    """
    CREATE TEMP TRIGGER reserved AFTER INSERT ON ticket BEGIN
        INSERT INTO hold SELECT NEW.id, account, bucket FROM allowance WHERE bucket IS NOT NULL;
        INSERT INTO bucket (account, id, reserved, until)
            SELECT account, bucket, NEW.amount, until FROM allowance WHERE bucket IS NOT NULL
            ON CONFLICT DO UPDATE SET reserved = reserved + excluded.reserved, until = max(until, excluded.until);
        INSERT INTO seat (account, ticket, until)
            SELECT account, NEW.id, until FROM allowance WHERE bucket IS NULL;
        INSERT INTO day (day, caller, endpoint, reserved) VALUES (NEW.day, NEW.caller, NEW.endpoint, NEW.amount)
            ON CONFLICT DO UPDATE SET submits = submits + 1, reserved = reserved + excluded.reserved;
    END
    """,
    # A job belongs to the ticket that named it first.
    """
    CREATE TEMP TRIGGER accept INSTEAD OF INSERT ON step WHEN NEW.does = 'accept' BEGIN
        UPDATE OR IGNORE ticket SET job = NEW.args ->> 'job' WHERE id = NEW.args ->> 'ticket' AND job IS NULL;
    END
    """,
    """
    CREATE TEMP TRIGGER accepted AFTER UPDATE OF job ON ticket BEGIN
        UPDATE seat SET job = NEW.job WHERE ticket = NEW.id;
    END
    """,
    """
    CREATE TEMP TRIGGER refund INSTEAD OF INSERT ON step WHEN NEW.does = 'refund' BEGIN
        UPDATE ticket SET spent = 0 WHERE id = NEW.args ->> 'ticket';
    END
    """,
    # A reservation that was swept has left its seats behind.
    """
    CREATE TEMP TRIGGER settle INSTEAD OF INSERT ON step WHEN NEW.does = 'settle' BEGIN
        INSERT INTO answer SELECT NEW.id, count(*) FROM ticket WHERE job = NEW.args ->> 'job';
        UPDATE ticket SET
                spent = min(amount, coalesce(NEW.args ->> 'amount', amount)),
                overrun = max(coalesce(NEW.args ->> 'amount', amount) - amount, 0)
            WHERE job = NEW.args ->> 'job';
        DELETE FROM seat WHERE job = NEW.args ->> 'job';
    END
    """,
    """
    CREATE TEMP TRIGGER ended AFTER UPDATE OF spent ON ticket BEGIN
        UPDATE bucket SET reserved = reserved - NEW.amount, used = used + NEW.spent
            FROM hold WHERE hold.ticket = NEW.id AND bucket.account = hold.account AND bucket.id = hold.bucket;
        UPDATE day SET
                reserved = reserved - NEW.amount,
                used = used + NEW.spent,
                refunded = refunded + NEW.amount - NEW.spent,
                unsettled = unsettled + NEW.swept * NEW.spent,
                overrun = overrun + NEW.overrun
            WHERE day = NEW.day AND caller = NEW.caller AND endpoint = NEW.endpoint;
        DELETE FROM seat WHERE ticket = NEW.id AND NOT NEW.swept;
        DELETE FROM hold WHERE ticket = NEW.id;
        DELETE FROM ticket WHERE id = NEW.id;
    END
    """,
    """
    CREATE TEMP TRIGGER release INSTEAD OF INSERT ON step WHEN NEW.does = 'release' BEGIN
        DELETE FROM seat WHERE job = NEW.args ->> 'job';
    END
    """,
    """
    CREATE TEMP TRIGGER sweep INSTEAD OF INSERT ON step WHEN NEW.does = 'sweep' BEGIN
        INSERT INTO answer SELECT NEW.id, count(*) FROM (
            SELECT 1 FROM ticket WHERE until <= NEW.args ->> 'now' LIMIT NEW.args ->> 'limit'
        );
        UPDATE ticket SET spent = amount, swept = 1 WHERE id IN (
            SELECT id FROM ticket WHERE until <= NEW.args ->> 'now' ORDER BY until LIMIT NEW.args ->> 'limit'
        );
        DELETE FROM seat WHERE (account, ticket) IN (
            SELECT account, ticket FROM seat WHERE until <= NEW.args ->> 'now' LIMIT NEW.args ->> 'limit'
        );
        DELETE FROM claim WHERE key IN (
            SELECT key FROM claim WHERE until <= NEW.args ->> 'now' LIMIT NEW.args ->> 'limit'
        );
        DELETE FROM bucket WHERE (account, id) IN (
            SELECT account, id FROM bucket WHERE until <= NEW.args ->> 'ended' LIMIT NEW.args ->> 'limit'
        );
        DELETE FROM day WHERE day < NEW.args ->> 'oldest' AND reserved = 0;
    END
    """,
    # Says [state] or ["stored", answer].
    """
    CREATE TEMP TRIGGER claim INSTEAD OF INSERT ON step WHEN NEW.does = 'claim' BEGIN
        DELETE FROM claim WHERE key = NEW.args ->> 'key' AND until <= NEW.args ->> 'now';
        INSERT INTO answer SELECT NEW.id, json_array('fresh')
            WHERE NOT EXISTS (SELECT 1 FROM claim WHERE key = NEW.args ->> 'key');
        INSERT INTO answer
            SELECT NEW.id, CASE
                WHEN body_hash <> NEW.args ->> 'body_hash' THEN json_array('mismatch')
                WHEN answer IS NOT NULL THEN json_array('stored', answer)
                WHEN NEW.args ->> 'now' < held_until THEN json_array('busy')
                ELSE json_array('unknown')
            END FROM claim WHERE key = NEW.args ->> 'key';
        INSERT OR IGNORE INTO claim (key, body_hash, owner, held_until, until) VALUES (
            NEW.args ->> 'key', NEW.args ->> 'body_hash', NEW.args ->> 'owner',
            NEW.args ->> 'held_until', NEW.args ->> 'until'
        );
    END
    """,
    """
    CREATE TEMP TRIGGER store INSTEAD OF INSERT ON step WHEN NEW.does = 'store' BEGIN
        UPDATE claim SET answer = NEW.args ->> 'answer', until = NEW.args ->> 'until'
            WHERE key = NEW.args ->> 'key' AND owner = NEW.args ->> 'owner' AND answer IS NULL;
    END
    """,
    """
    CREATE TEMP TRIGGER free INSTEAD OF INSERT ON step WHEN NEW.does = 'free' BEGIN
        DELETE FROM claim
            WHERE key = NEW.args ->> 'key' AND owner = NEW.args ->> 'owner' AND answer IS NULL;
    END
    """,
    # A question would be answered by a full disk, too.
    """
    CREATE TEMP TRIGGER beat INSTEAD OF INSERT ON step WHEN NEW.does = 'beat' BEGIN
        UPDATE pulse SET beats = beats + 1;
    END
    """,
)


def prepare(db: sqlite3.Connection) -> None:
    """To be called once for a connection, before `perform`."""
    db.execute("PRAGMA temp_store = MEMORY")
    for statement in STEPS:
        db.execute(statement)


def perform(db: sqlite3.Connection, steps: Sequence[Sequence[str]]) -> list[str | ValueError]:
    """What each of *steps* said, in order. A step is rows of JSON, and its last row is what speaks.

    When this returns they last, but for those SQLite refused: they are a ValueError. Raises sqlite3.Error, after which
    steps may have been done or not.
    """
    try:
        return _together(db, steps)
    except sqlite3.IntegrityError as error:
        if len(steps) == 1:
            return [ValueError(str(error))]
    return [outcome for step in steps for outcome in perform(db, [step])]


def _together(db: sqlite3.Connection, steps: Sequence[Sequence[str]]) -> list[str | ValueError]:
    rows = [START, *chain.from_iterable(steps)]
    db.execute(PERFORM, (f"[{','.join(rows)}]",))
    said = json.loads(db.execute(ANSWERS).fetchone()[0])
    return [said.get(str(last), "") for last in accumulate(map(len, steps))]
