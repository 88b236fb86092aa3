from __future__ import annotations

from collections.abc import Callable, Iterable

from support.scripted_upstream import until

from proxy.errors import ServicePaused, StoreAway
from proxy.upstream.account.fal_key import FalKey
from proxy.upstream.account.shared_pauses import SharedPauses
from proxy.upstream.account.state import KEY, Account, Pause

LOCKED = ServicePaused(retry_after=20, cause="locked")
KEYS = (FalKey("id:secret-1"), FalKey("id:secret-2", "spare"))


class Target:
    """Target of a call."""

    endpoint = "fal-ai/flux/dev"
    app = "fal-ai/flux"


class Board:
    """The store as all workers see it."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self.away = False


class Worker:
    """A worker with an account of its own, on the board that it shares."""

    def __init__(self, board: Board, keys: tuple[FalKey, ...] = KEYS) -> None:
        self.now = 100.0
        self.on_pauses: Callable[[Iterable[str]], None] = lambda texts: None
        self.account = Account(keys, report=lambda state, pause, words: None)
        self.pauses = SharedPauses(self, self.account, clock=lambda: self.now)
        self._board = board

    async def share_pause(self, name: str, text: str, *, ttl: float) -> None:
        assert ttl > 0
        if self._board.away:
            raise StoreAway
        self._board.shown[name] = text

    async def end_pause(self, name: str) -> None:
        self._board.shown.pop(name, None)

    def beat(self) -> None:
        """One heartbeat."""
        self.on_pauses(list(self._board.shown.values()))


async def test_one_worker_learns_of_the_refusal_that_another_met() -> None:
    """With its next heartbeat, by key and scope; and the board shows no key."""
    board = Board()
    first, second = Worker(board), Worker(board)
    first.account.refused(LOCKED, Target(), "spare")
    await until(lambda: bool(board.shown))
    second.beat()
    second.beat()

    assert second.account.pauses == (Pause(KEY, "locked", Target.app, "spare"),)
    assert second.account.choose(Target()) == ""
    assert "secret" not in repr(board.shown)


async def test_a_pause_that_ended_is_not_learnt_again() -> None:
    """A heartbeat that was sent before the end is late; a new refusal later counts."""
    board = Board()
    worker = Worker(board)
    worker.account.refused(LOCKED, Target())
    await until(lambda: bool(board.shown))
    [pause] = worker.account.pauses
    late = list(board.shown.values())
    worker.account.resume(pause, "fal accepts")
    await until(lambda: not board.shown)

    worker.on_pauses(late)
    assert not worker.account.pauses
    worker.now += 6
    worker.on_pauses(late)
    assert worker.account.pauses == (pause,)


async def test_a_pause_of_a_replaced_key_does_not_concern_the_new_one() -> None:
    """An alias may get another key while old workers still use the refused one."""
    board = Board()
    old, new = Worker(board), Worker(board, (FalKey("id:secret-9"),))
    old.account.refused(LOCKED, Target())
    await until(lambda: bool(board.shown))
    new.beat()

    assert not new.account.pauses


async def test_without_the_store_the_worker_pauses_alone() -> None:
    """The refusal is not lost with the store."""
    board = Board()
    board.away = True
    worker = Worker(board)
    worker.account.refused(LOCKED, Target())
    await until(lambda: not worker.pauses._tasks)

    assert (len(worker.account.pauses), board.shown) == (1, {})
