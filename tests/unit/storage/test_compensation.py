import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.errors import StoreAway
from proxy.storage.compensation import Doubts


class Shelf:
    """What is given back, in order; *closed* while the store is away."""

    def __init__(self) -> None:
        self.returned: list[str] = []
        self.closed = False
        self.at_work = asyncio.Event()
        self.hands = asyncio.Event()
        self.hands.set()

    def take_back(self, name: str) -> Callable[[], Awaitable[None]]:
        async def give_back() -> None:
            self.at_work.set()
            await self.hands.wait()
            if self.closed:
                raise StoreAway
            self.returned.append(name)

        return give_back


async def test_what_is_in_doubt_is_given_back_once() -> None:
    """In the order the doubts came, when the store answers, and not again."""
    shelf, doubts = Shelf(), Doubts()
    for name in ("a", "b"):
        doubts.add(name, shelf.take_back(name))
    assert shelf.returned == []
    for _ in range(2):
        doubts.settle()
        await doubts.aclose()

    assert shelf.returned == ["a", "b"]


async def test_a_store_that_is_away_again() -> None:
    """The doubts remain, and the next answer of the store is the next occasion."""
    shelf, doubts = Shelf(), Doubts()
    doubts.add("a", shelf.take_back("a"))
    shelf.closed = True
    doubts.settle()
    await doubts.aclose()
    shelf.closed = False
    doubts.settle()
    await doubts.aclose()

    assert shelf.returned == ["a"]


async def test_what_is_asked_for_again_is_kept() -> None:
    """Who withdraws a doubt in time may have what it was about."""
    shelf, doubts = Shelf(), Doubts()
    doubts.add("a", shelf.take_back("a"))
    doubts.withdraw("a")
    doubts.withdraw("b")
    doubts.settle()
    await doubts.aclose()

    assert shelf.returned == []


async def test_what_is_being_given_back_cannot_be_had() -> None:
    """While that is under way nobody can tell which of the two comes first."""
    shelf, doubts = Shelf(), Doubts()
    doubts.add("a", shelf.take_back("a"))
    shelf.hands.clear()
    doubts.settle()
    doubts.settle()
    await shelf.at_work.wait()
    with pytest.raises(StoreAway):
        doubts.withdraw("a")
    shelf.hands.set()
    await doubts.aclose()
    doubts.withdraw("a")

    assert shelf.returned == ["a"]


async def test_a_long_absence() -> None:
    """There is room for so many doubts; those that come later are left to the store's own forgetting."""
    shelf, doubts = Shelf(), Doubts(capacity=2)
    for name in ("a", "b", "c"):
        doubts.add(name, shelf.take_back(name))
    doubts.settle()
    await doubts.aclose()

    assert shelf.returned == ["a", "b"]
