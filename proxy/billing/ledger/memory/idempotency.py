"""Claims of idempotency keys. Pure but for lookups in the archive."""

from __future__ import annotations

from proxy.billing.ledger.interface import Call, KeyState, StoredAnswer
from proxy.billing.ledger.memory.archive import Archive
from proxy.billing.ledger.memory.deadline_queue import DeadlineQueue
from proxy.billing.ledger.memory.records import Changes, KeyRecord


class Keys:
    """Unanswered claims of this process; all others are in the archive. *worker* names the process."""

    def __init__(self, changes: Changes, archive: Archive, worker: str) -> None:
        self._changes = changes
        self._archive = archive
        self._worker = worker
        self._records: dict[str, KeyRecord] = {}
        self._holds: DeadlineQueue[str] = DeadlineQueue()

    def get(self, key: str, now: float) -> KeyRecord | None:
        """Returns the claim of *key*, None where there is none or it is too old."""
        record = self._find(key)
        return None if record is None or record.until <= now else record

    def check(self, key: str, body_hash: str, now: float) -> KeyState | StoredAnswer | Call:
        """Returns the state of *key*, FRESH where it may be claimed. Changes nothing."""
        record = self.get(key, now)
        if record is None:
            return KeyState.FRESH
        if record.body_hash != body_hash:
            return KeyState.MISMATCH
        if record.answer is not None:
            return StoredAnswer(record.answer)
        if record.job is not None:
            return Call(record.owner, record.job, record.key_alias, record.created, None, True)
        # One process uses the ledger: a claim of another one will never be answered.
        if record.worker == self._worker and now < record.held_until:
            return KeyState.BUSY
        return KeyState.UNKNOWN

    def claim(self, key: str, body_hash: str, *, owner: str, now: float, ttl: float, hold: float) -> None:
        """Records the claim of a fresh key."""
        self._put(KeyRecord(key, body_hash, owner, now + hold, now + ttl, now, self._worker))

    def store(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        """Stores the answer of *owner*'s unanswered claim."""
        record = self.get(key, now)
        if record is not None and record.owner == owner and not record.is_answered:
            record.answer, record.until = answer, now + ttl
            self._put(record)

    def put_answer(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        """Stores an answer under a key that was not claimed."""
        self._put(KeyRecord(key, "", owner, now, now + ttl, now, self._worker, answer))

    def accept(self, key: str, owner: str, job: str, key_alias: str, now: float) -> None:
        """Answers *owner*'s claim by its job."""
        record = self.get(key, now)
        if record is not None and record.owner == owner and not record.is_answered:
            record.job, record.key_alias = job, key_alias
            self._put(record)

    def free(self, key: str, owner: str) -> None:
        """Removes *owner*'s unanswered claim."""
        record = self._find(key)
        if record is not None and record.owner == owner and not record.is_answered:
            self._forget(key)
            self._changes.keys[key] = None

    def drop_unheld(self, now: float, limit: int) -> None:
        """Forgets up to *limit* claims that are no longer held; the archive has them."""
        for _ in range(limit):
            unheld = self._holds.pop_due(now)
            if unheld is None:
                return
            self._records.pop(unheld[0], None)

    def _find(self, key: str) -> KeyRecord | None:
        if (record := self._records.get(key)) is not None:
            return record
        if key in self._changes.keys:
            return self._changes.keys[key]
        return self._archive.key(key)

    def _put(self, record: KeyRecord) -> None:
        self._changes.keys[record.key] = record
        if record.is_answered:
            self._forget(record.key)
        else:
            self._records[record.key] = record
            self._holds.put(record.key, record.held_until)

    def _forget(self, key: str) -> None:
        self._records.pop(key, None)
        self._holds.discard(key)
