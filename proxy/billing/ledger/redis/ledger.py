"""Ledger in Redis (7 or later) or Valkey, for any number of workers and replicas.

Every step is one script. All times are those that the caller passes. The keys' TTLs, in the server's own time, only
remove what no step needs any more, with room for clocks that disagree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import date
from pathlib import Path

from proxy.billing.ledger.interface import (
    AllowanceStatus,
    Blocked,
    Call,
    CallNote,
    Charge,
    DailyUsage,
    InFlightSlot,
    KeyState,
    ReservationRequest,
    ReserveResult,
    StoredAnswer,
)
from proxy.billing.ledger.jobs import Credit, Cursor, EndState, ForgottenUser, JobRecord, JobState, LedgerStats, Row
from proxy.billing.ledger.looks import FIRST_LOOK, LONGEST_PAUSE, PER_SECOND
from proxy.billing.ledger.money import MAX_JOB_COST, Micros
from proxy.billing.ledger.redis import listings, replies, server_checks
from proxy.billing.ledger.redis.arguments import (
    CLOCK_SKEW,
    Args,
    check_request,
    credit_text,
    milliseconds,
    reserve_args,
)
from proxy.billing.ledger.redis.dump import dump
from proxy.billing.ledger.redis.epoch import Epoch, OnDataLoss
from proxy.billing.ledger.redis.forget import forget
from proxy.billing.ledger.redis.load import load
from proxy.billing.ledger.redis.replies import expect
from proxy.billing.ledger.redis.retention import RedisRetention
from proxy.billing.ledger.redis.scripts import admin, calls, jobs
from proxy.billing.ledger.redis.scripts.library import BASE
from proxy.billing.ledger.redis.scripts.reserve import RESERVE
from proxy.billing.ledger.redis.workers import HEARTBEAT_INTERVAL, Workers
from proxy.errors import StoreAway
from proxy.storage.compensation import PendingUndo
from proxy.storage.redis_client import LATER_CALL_QUEUE, RedisStore, Script

SWEEP_BATCH = 20  # reservations ended in one script: it holds up the server for less than a millisecond
MAX_ATTEMPTS = 5  # repeats of a reservation step: a lost epoch, workers without a verdict
CLOCK_JUMP = 60.0  # seconds: a smaller step of the clock is not reported
_SLACK_MS = milliseconds(CLOCK_SKEW)


class RedisLedger:
    """Ledger behind *store*, which the caller closes after the ledger.

    *lock_folder*: where the workers of one host lock a file each; None for none. *report* gets messages for the log.
    The ledger of a command (*is_command*) closes *store* itself, and its `start` raises StoreAway at once.
    A reservation or a claim whose caller got no answer, for StoreAway or a cancelled task, is undone once the store
    answers again.
    """

    def __init__(
        self,
        store: RedisStore,
        *,
        on_data_loss: OnDataLoss = "continue",
        allow_eviction: bool = False,
        lock_folder: Path | None = None,
        report: Callable[[str], None] = lambda message: None,
        is_command: bool = False,
        retention: RedisRetention | None = None,
    ) -> None:
        self._store = store
        self._is_command = is_command
        self._retention = retention or RedisRetention()
        self._allow_eviction = allow_eviction
        self._report = report
        self._undos = PendingUndo()
        self.workers = Workers(self._send, lock_folder, report)
        self.epoch = Epoch(self._send, on_data_loss, report)
        self._started = False
        self._heartbeat: asyncio.Task[None] | None = None
        self._open_calls = 0
        self._unsettled = 0
        self._clock_jump = 0.0

    async def start(self, *, now: float) -> None:
        """Waits until the store answers, checks its settings and schema, and starts the heartbeat."""
        if self._is_command:
            await self._open(now)
        while not self._started:
            with contextlib.suppress(StoreAway):
                await self._open(now)
            if not self._started:
                await asyncio.sleep(HEARTBEAT_INTERVAL)
        self._heartbeat = asyncio.create_task(self._beat_forever())

    async def reserve(self, call_id: str, request: ReservationRequest, *, now: float) -> ReserveResult:
        check_request(request, now)
        resumed = self._undos.cancel(call_id)
        verdicts: dict[str, bool] = {}
        for _ in range(MAX_ATTEMPTS):
            reply = await self._reserve(call_id, request, now, verdicts, resumed=resumed)
            kind = expect(bytes, reply[0])
            if kind == b"epoch":
                await self.epoch.observe(expect(bytes, reply[1]).decode())
            elif kind == b"undecided":
                verdicts |= await self.workers.are_alive(replies.texts(reply[1:]))
            else:
                return await self._result(kind, reply, request, verdicts)
        raise StoreAway(reason="a reservation was repeated too often")

    async def accept(self, call_id: str, job: str, *, key_alias: str = "", now: float) -> None:
        await self._run(calls.ACCEPT, [call_id, job, key_alias, _SLACK_MS, repr(FIRST_LOOK)])

    async def refund(self, call_id: str, *, now: float) -> None:
        await self._run(calls.REFUND, [call_id, repr(now), self._retention.ended_ms])

    async def settle(self, job: str, *, amount: Micros | None, state: EndState = "completed", now: float) -> bool:
        return await self._settle("job", job, amount, state, now)

    async def settle_call(
        self, call_id: str, *, amount: Micros | None, state: EndState = "completed", now: float
    ) -> bool:
        return await self._settle("call", call_id, amount, state, now)

    async def release(self, job: str, *, now: float) -> None:
        await self._run(calls.RELEASE, [job])

    async def flush(self) -> None:
        """Returns at once: the store has confirmed every earlier step."""

    async def sweep(self, *, now: float, limit: int = 1000) -> int:
        self._undos.flush()
        swept, assumed, first = 0, repr(now), 1
        for done in range(0, limit, SWEEP_BATCH):
            count = min(SWEEP_BATCH, limit - done)
            reply = expect(list, await self._run(calls.SWEEP, [assumed, first, count, self._retention.ended_ms]))
            ended, found, assumed = reply[0], reply[1], expect(bytes, reply[2]).decode()
            if first:
                self._note_clock(now, float(assumed), expect(bytes, reply[3]).decode())
            first = 0
            swept += ended
            if found < count:
                break
        await self._retention.drop_days(self._run, float(assumed))
        self._unsettled += swept
        return swept

    async def statuses(
        self, charges: tuple[Charge, ...], slots: tuple[InFlightSlot, ...], *, now: float
    ) -> tuple[AllowanceStatus, ...]:
        args: Args = [repr(now), len(charges)]
        for charge in charges:
            args += [charge.account, charge.oldest]
        args += [slot.account for slot in slots]
        return replies.read_statuses(await self._run(jobs.STATUSES, args), charges, slots)

    async def report(self, *, since: date, until: date) -> tuple[DailyUsage, ...]:
        return await listings.read_usage(self._run, since, until)

    async def claim_key(
        self, key: str, body_hash: str, *, owner: str, now: float, ttl: float, hold: float
    ) -> KeyState | StoredAnswer:
        name = f"{key} {owner}"
        self._undos.cancel(name)
        args: Args = [key, repr(now), body_hash, owner, repr(now + hold), repr(now + ttl)]
        reply = await self._run(
            calls.CLAIM,
            [*args, milliseconds(ttl + CLOCK_SKEW), self.workers.name],
            shed_above=LATER_CALL_QUEUE,
            on_unknown=lambda: self._undos.add(name, lambda: self.free_key(key, owner=owner)),
        )
        self._undos.flush()
        if isinstance(reply, list):
            return StoredAnswer(expect(bytes, reply[0]))
        return KeyState(expect(bytes, reply).decode())

    async def store_answer(self, key: str, answer: bytes, *, owner: str, now: float, ttl: float) -> None:
        args: Args = [key, repr(now), owner, answer, repr(now + ttl), milliseconds(ttl + CLOCK_SKEW)]
        await self._run(calls.STORE, args)

    async def free_key(self, key: str, *, owner: str) -> None:
        await self._run(calls.FREE, [key, owner])

    def end_note(self, call_id: str) -> None:
        self.workers.end_note(call_id)

    async def mark_lost(self, call_id: str, note: CallNote, *, now: float) -> None:
        if (rejoin := note.rejoin_seconds) <= 0:
            return
        times = [repr(rejoin), repr(now), repr(now + rejoin)]
        args: Args = [call_id, note.fingerprint, *times, self.workers.name, milliseconds(rejoin + CLOCK_SKEW)]
        await self._run(calls.MARK_LOST, args)

    async def answer_call(self, call_id: str, answer: bytes, *, now: float, ttl: float) -> None:
        await self._run(calls.ANSWER_CALL, [call_id, answer, repr(now + ttl), milliseconds(ttl + CLOCK_SKEW)])

    async def call(self, call_id: str, *, now: float) -> Call | None:
        reply = await self._run(calls.CALL, [call_id, repr(now), self.workers.name])
        if reply is None:
            return None
        fields = expect(list, reply)
        return replies.read_call([call_id.encode(), *fields], alive=fields[4] == b"1")

    async def set_running(self, name: str, *, now: float) -> None:
        await self._run(jobs.SET_RUNNING, [name])

    async def jobs(
        self, caller: str, *, states: frozenset[JobState], limit: int, before: Cursor | None = None
    ) -> tuple[JobRecord, ...]:
        return await listings.read_jobs(self._run, caller, states, limit, before)

    async def open_calls(self, *, limit: int) -> tuple[int, tuple[JobRecord, ...]]:
        return replies.read_open_calls(await self._run(jobs.OPEN_CALLS, [limit]))

    async def job(self, name: str) -> JobRecord | None:
        reply = await self._run(jobs.JOB, [name])
        return None if reply is None else replies.read_record(reply)

    async def take_due(self, *, now: float, limit: int) -> tuple[JobRecord, ...]:
        args: Args = [repr(now), limit, repr(FIRST_LOOK), repr(LONGEST_PAUSE), PER_SECOND]
        return replies.read_records(await self._run(jobs.TAKE_DUE, args))

    async def take_oldest(self, account: str, *, now: float, limit: int, apart: float) -> tuple[JobRecord, ...]:
        args: Args = [account, repr(now), limit, repr(apart), repr(FIRST_LOOK), repr(LONGEST_PAUSE)]
        return replies.read_records(await self._run(jobs.TAKE_OLDEST, args))

    async def next_look(self, account: str, *, now: float, apart: float) -> float:
        return float(expect(bytes, await self._run(jobs.NEXT_LOOK, [account, repr(now), repr(apart)])))

    async def refund_ended(self, job: str, *, now: float) -> bool:
        return await self._run(admin.REFUND_ENDED, [job]) == 1

    async def grant_credit(self, credit: Credit, *, now: float) -> None:
        await self._run(admin.GRANT_CREDIT, [credit.account, credit.id, credit_text(credit)])

    async def credits(self, account: str | None, *, now: float) -> tuple[Credit, ...]:
        reply = await self._run(admin.CREDITS, [account or "", repr(now)])
        return tuple(map(replies.read_credit, expect(list, reply)))

    async def set_blocked(self, caller: str, blocked: bool, *, now: float) -> None:
        await self._run(admin.SET_BLOCKED, ["SADD" if blocked else "SREM", caller])

    async def blocked_callers(self, callers: Sequence[str]) -> frozenset[str]:
        return frozenset(map(bytes.decode, expect(list, await self._run(admin.BLOCKED, [*callers]))))

    async def reset(self, accounts: Iterable[str], *, now: float) -> int:
        return int(expect(bytes, await self._run(admin.RESET, list(accounts))))

    async def forget(self, user: ForgottenUser, *, now: float) -> int:
        return await forget(self._run, user)

    async def ping(self) -> None:
        """Raises StoreAway also before `start` has returned, and while lost data is denied."""
        await self._store.ping()
        self._check_started()
        if self.epoch.is_denied:
            await self._beat()
        _ = self.epoch.value

    async def warnings(self) -> tuple[str, ...]:
        return await server_checks.warnings(self._send)

    @property
    def clock_skew(self) -> float:
        """Seconds by which this host's clock is ahead of the store's."""
        return self.workers.skew

    def notices(self) -> tuple[str, ...]:
        jump = [f"the clock jumped by {self._clock_jump:.0f} s"] if abs(self._clock_jump) > CLOCK_JUMP else []
        return (*self.epoch.notices(started=self._started), *jump)

    def stats(self) -> LedgerStats:
        store = self._store
        return LedgerStats(
            failures=store.failures,
            commits=store.replies,
            commit_seconds=store.reply_seconds,
            queue=store.pending,
            open_jobs=self._open_calls,
            unsettled=self._unsettled,
        )

    def dump(self) -> AsyncIterator[Row]:
        return dump(self._send)

    async def load(self, rows: AsyncIterator[Row], *, now: float) -> int:
        return await load(self._send, rows, now=now)

    async def aclose(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.gather(self._heartbeat, return_exceptions=True)
        await self._undos.aclose()
        if self._started:
            with contextlib.suppress(StoreAway):
                await self._beat()
                await self.workers.stop()
        self.workers.unlock()
        self._started = False
        if self._is_command:
            await self._store.aclose()

    async def _open(self, now: float) -> None:
        await server_checks.check(self._send, allow_eviction=self._allow_eviction, now=now)
        await self.epoch.start()
        await self._beat()
        self.workers.lock()
        self._started = True

    async def _reserve(
        self, call_id: str, request: ReservationRequest, now: float, verdicts: dict[str, bool], *, resumed: bool
    ) -> list[object]:
        self._check_started()
        epoch = self.epoch.value
        worker, ended = self.workers.name, self.workers.take_ended_notes()
        args = reserve_args(
            call_id, request, now=now, epoch=epoch, worker=worker, ended=ended, verdicts=verdicts, resumed=resumed
        )
        replied = False
        try:
            reply = await self._run(
                RESERVE,
                args,
                shed_above=LATER_CALL_QUEUE,
                on_unknown=lambda: self._undos.add(call_id, lambda: self.refund(call_id, now=now)),
            )
            replied = True
        finally:
            if not replied:
                self.workers.ended_notes += ended
        self._undos.flush()
        return expect(list, reply)

    async def _result(
        self, kind: bytes, reply: list[object], request: ReservationRequest, verdicts: dict[str, bool]
    ) -> ReserveResult:
        if kind == b"granted":
            return replies.read_granted(reply, request)
        if kind == b"short":
            return replies.read_shortfall(reply, request)
        if kind == b"call":
            return await self._joined_call(reply, verdicts)
        if kind == b"key":
            return KeyState(expect(bytes, reply[1]).decode())
        if kind == b"answer":
            return StoredAnswer(expect(bytes, reply[1]))
        return Blocked(kind.decode())

    async def _joined_call(self, reply: list[object], verdicts: dict[str, bool]) -> Call:
        call = replies.read_call(reply[1:], alive=True)
        worker = expect(bytes, reply[6]).decode()
        if call.job is not None or call.answer is not None:
            return call
        alive = verdicts[worker] if worker in verdicts else await self.workers.has_heartbeat(worker)
        return replies.read_call(reply[1:], alive=alive)

    async def _settle(self, kind: str, name: str, amount: Micros | None, state: EndState, now: float) -> bool:
        due = "" if amount is None else max(0, min(amount, MAX_JOB_COST))
        return await self._run(calls.SETTLE, [kind, name, repr(now), due, state, self._retention.ended_ms]) == 1

    def _note_clock(self, now: float, assumed: float, last: str) -> None:
        """Reports a clock that jumped ahead or back since the last sweep of any worker."""
        jump = now - float(last) if last and (now > assumed or float(last) > now + CLOCK_JUMP) else 0.0
        if abs(jump) > CLOCK_JUMP and self._clock_jump == 0.0:
            self._report(f"the clock jumped by {jump:.0f} s; no budget and no slot is given back for that")
        self._clock_jump = jump

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            with contextlib.suppress(StoreAway):
                await self._beat()

    async def _beat(self) -> None:
        epoch, self._open_calls = await self.workers.beat()
        await self.epoch.observe(epoch)

    def _check_started(self) -> None:
        if not self._started:
            raise StoreAway(reason="the ledger has not started")

    async def _run(
        self, script: Script, args: Args, *, shed_above: int | None = None, on_unknown: Callable[[], None] | None = None
    ) -> object:
        self._check_started()
        return await self._store.run(script, [BASE], args, shed_above=shed_above, on_unknown=on_unknown)

    async def _send(self, script: Script, args: Args) -> object:
        return await self._store.run(script, [BASE], args)
