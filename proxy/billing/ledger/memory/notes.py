"""Notes of calls whose caller has no answer yet, and queues of lost calls by fingerprint. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from proxy.billing.ledger.interface import CallNote
from proxy.billing.ledger.jobs import JobRecord
from proxy.billing.ledger.memory.deadline_queue import DeadlineQueue
from proxy.billing.ledger.memory.records import Changes, Note

JOINED_SECONDS = 3600.0  # that a joined call stays known while its joiner waits for the answer


class Notes:
    """Open notes by id. A lost call stays in its queue until a repeat takes it or its time is over."""

    def __init__(self, changes: Changes, worker: str) -> None:
        self._changes = changes
        self._worker = worker
        self._notes: dict[str, Note] = {}
        self._queues: dict[str, deque[str]] = {}
        self._ends: DeadlineQueue[str] = DeadlineQueue()

    def restore(self, notes: list[Note], now: float) -> None:
        """Takes in the notes of processes that have ended: all of them are lost."""
        for note in sorted(notes, key=lambda note: note.created):
            self._notes[note.id] = note
            self._lose(note, now if note.lost_at is None else note.lost_at)

    def __iter__(self) -> Iterator[Note]:
        return iter(self._notes.values())

    def get(self, call_id: str) -> Note | None:
        return self._notes.get(call_id)

    def open(self, call_id: str, note: CallNote, *, now: float) -> None:
        """Records a call whose caller is connected.

        Until it is lost it has the deadline of its reservation.
        """
        if note.rejoin_seconds > 0:
            self._put(Note(call_id, note.fingerprint, note.rejoin_seconds, self._worker, now))

    def accept(self, call_id: str, job: str, key_alias: str) -> None:
        """Records the job of a call. Needs no row: the reservation has it."""
        note = self._notes.get(call_id)
        if note is not None:
            note.job, note.key_alias = job, key_alias

    def keep(self, call_id: str, until: float) -> None:
        """Writes the row of an open call again, with its job: its reservation is about to end.

        From now on the note has the deadline *until*.
        """
        note = self._notes.get(call_id)
        if note is not None:
            self._changes.notes[call_id] = note
            if call_id not in self._ends:
                self._ends.put(call_id, until)

    def drop_open(self, call_id: str) -> None:
        """Forgets a call whose reservation is past its time, unless a repeat may still join it."""
        if call_id in self._notes and call_id not in self._ends:
            del self._notes[call_id]
            self._changes.notes[call_id] = None

    def end(self, call_id: str) -> bool:
        """Forgets a call. Returns False where it had no note."""
        if self._notes.pop(call_id, None) is None:
            return False
        self._ends.discard(call_id)
        self._changes.notes[call_id] = None
        return True

    def lose(self, call_id: str, call: CallNote, *, now: float, record: JobRecord | None) -> None:
        """Puts a call at the end of the queue of its fingerprint. *record* is for one that has no note."""
        if call.rejoin_seconds <= 0:
            return
        note = self._notes.get(call_id)
        if note is None:
            note = Note(call_id, call.fingerprint, call.rejoin_seconds, self._worker, now)
            if record is not None:
                note.created, note.job, note.key_alias = record.created, record.job, record.key_alias
        if note.lost_at is None:
            self._put(note)
            self._lose(note, now)

    def take(self, call: CallNote, now: float) -> Note | None:
        """Takes the oldest lost call with the fingerprint of *call* out of its queue."""
        queue = self._queues.get(call.fingerprint) if self._queues else None
        while queue:
            note = self._notes.get(queue.popleft())
            if not queue:
                del self._queues[call.fingerprint]
            if note is not None and note.lost_at is not None and now < note.lost_at + note.rejoin:
                note.lost_at = None
                self._put(note)
                self._ends.put(note.id, now + note.rejoin + JOINED_SECONDS)
                return note
        return None

    def drop_ended(self, now: float, limit: int) -> None:
        """Forgets up to *limit* calls that nothing joined in time."""
        for _ in range(limit):
            ended = self._ends.pop_due(now)
            if ended is None:
                return
            note = self._notes.pop(ended[0], None)
            self._changes.notes[ended[0]] = None
            if note is not None and note.lost_at is not None:
                self._unqueue(note)

    def _lose(self, note: Note, at: float) -> None:
        note.lost_at = at
        self._queues.setdefault(note.fingerprint, deque()).append(note.id)
        self._ends.put(note.id, at + note.rejoin)

    def _put(self, note: Note) -> None:
        self._notes[note.id] = note
        self._changes.notes[note.id] = note

    def _unqueue(self, note: Note) -> None:
        queue = self._queues.get(note.fingerprint)
        if queue is not None and note.id in queue:
            queue.remove(note.id)
            if not queue:
                del self._queues[note.fingerprint]
