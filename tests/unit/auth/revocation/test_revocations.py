"""Revocations: which sessions they end, where they are kept, and what happens while the store is away."""

from __future__ import annotations

import asyncio
import stat
import time
from pathlib import Path

import pytest
from support.sandbox import until

from proxy.auth.caller import Caller
from proxy.auth.revocation.revocation_list import Revocation, RevocationList, token_subject
from proxy.auth.revocation.revocation_store import FileRevocations, MemoryRevocations, RevocationStore, Snapshot
from proxy.auth.revocation.revocation_watch import RevocationWatch
from proxy.errors import StoreAway

FAR = time.time() + 3600


def caller(key: str = "k", *, issued: float | None = 100.0, token_id: str | None = "t1", issuer: str = "i") -> Caller:
    return Caller(issuer, "alice", key, frozenset(), FAR, {}, FAR, issued, token_id)


CASES = {
    "token": (Revocation("token", token_subject("i", "t1"), FAR), True),
    "other-token": (Revocation("token", token_subject("i", "t2"), FAR), False),
    "token-of-another-issuer": (Revocation("token", token_subject("j", "t1"), FAR), False),
    "cut-elsewhere": (Revocation("token", token_subject("it", "1"), FAR), False),
    "user": (Revocation("user", "k", FAR, before=100.0), True),
    "user-later": (Revocation("user", "k", FAR, before=200.0), True),
    "issued-since": (Revocation("user", "k", FAR, before=99.0), False),
    "other-user": (Revocation("user", "m", FAR, before=200.0), False),
}


@pytest.mark.parametrize(("revocation", "revoked"), CASES.values(), ids=CASES)
def test_what_is_revoked(revocation: Revocation, revoked: bool) -> None:
    """A token by its id and issuer; a user's tokens by the time of their issue."""
    assert RevocationList([revocation]).is_revoked(caller()) == revoked


def test_a_token_without_a_time() -> None:
    """Of a revoked user a token that does not say when it was issued counts as old."""
    assert RevocationList([Revocation("user", "k", FAR, before=1.0)]).is_revoked(caller(issued=None))


def test_the_later_of_two_times_counts() -> None:
    """A user who is revoked twice stays revoked up to the later time, in any order."""
    both = [Revocation("user", "k", FAR, before=200.0), Revocation("user", "k", FAR, before=50.0)]

    assert RevocationList(both).is_revoked(caller())
    assert RevocationList(reversed(both)).is_revoked(caller())
    assert len(RevocationList(both)) == 1


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RevocationStore:
    """A store of each kind; the shared one is tested with a real server."""
    return MemoryRevocations() if request.param == "memory" else FileRevocations(tmp_path / "ledger.db.revoked")


async def test_a_store_gives_what_was_added(store: RevocationStore) -> None:
    """The version tells whether there is something new; expired revocations are left out."""
    empty = await store.load(None)
    await store.add(CASES["token"][0])
    await store.add(Revocation("user", "old", time.time() - 1))
    await store.add(CASES["user"][0])
    snapshot = await store.load(None if empty is None else empty.version)

    assert empty is None or empty.revocations == ()
    assert snapshot is not None
    assert {r.subject for r in snapshot.revocations} >= {CASES["token"][0].subject, "k"}
    assert await store.load(snapshot.version) is None


async def test_the_file(tmp_path: Path) -> None:
    """The file is its owner's alone, two processes see each other's lines, a damaged one is an error."""
    path = tmp_path / "ledger.db.revoked"
    first, second = FileRevocations(path), FileRevocations(path)
    await asyncio.gather(*(store.add(Revocation("user", f"u{n}", FAR)) for n in range(5) for store in (first, second)))
    snapshot = await first.load(None)
    mode, _ = stat.S_IMODE(path.stat().st_mode), path.write_bytes(b"garbage\n")

    assert snapshot is not None
    assert len(snapshot.revocations) == 10
    assert mode == 0o600
    with pytest.raises(ValueError, match="damaged"):
        await second.load(None)


class Flaky:
    """A store that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.inner = MemoryRevocations()

    async def add(self, revocation: Revocation) -> None:
        if self.away:
            raise StoreAway(reason="away")
        await self.inner.add(revocation)

    async def load(self, version: str | None) -> Snapshot | None:
        if self.away:
            raise StoreAway(reason="away")
        return await self.inner.load(version)


async def test_the_last_known_list_holds() -> None:
    """While the store is away what was revoked stays so, and the journal has a line at either end."""
    store, lines, changes = Flaky(), list[str](), list[None]()
    watch = RevocationWatch(store, report=lines.append)
    watch.on_change = lambda: changes.append(None)
    await store.add(CASES["token"][0])
    await watch.look()
    store.away = True
    for _ in range(3):
        await watch.look()
    during = watch.is_revoked(caller())
    with pytest.raises(StoreAway):
        await watch.revoke(CASES["other-user"][0])
    store.away = False
    await watch.look()

    assert during
    assert [line.split(";")[0] for line in lines] == [
        "the revocations could not be read",
        "the revocations can be read again",
    ]
    assert len(changes) == 1


async def test_every_process_knows_within_a_second() -> None:
    """A revocation of one process is seen by another one, and by the first at once."""
    store, report = MemoryRevocations(), list[str]().append
    here, there = (RevocationWatch(store, report=report) for _ in range(2))
    here.start()
    there.start()
    await here.revoke_session(caller())
    at_once = here.is_revoked(caller())
    await until(lambda: there.is_revoked(caller()), seconds=1.0)
    await here.aclose()
    await there.aclose()

    assert at_once
