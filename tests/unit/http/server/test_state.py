from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from ipaddress import ip_network

import pytest

from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.state import SharedState


def shared_state(per_address: int = 2) -> SharedState:
    return SharedState(ConnectionLimits(per_address=per_address), [ip_network("10.0.0.0/8")])


def test_a_crowd_is_counted_by_subscriber() -> None:
    """All of an IPv6 /64 is one; the next is another."""
    state = shared_state()
    keys = [state.acquire_slot(f"2001:db8::{number}") for number in range(3)]

    assert keys == ["2001:db8::/64", "2001:db8::/64", None]
    assert state.acquire_slot("2001:db8:0:1::1") == "2001:db8:0:1::/64"


def test_who_leaves_makes_room_and_is_forgotten() -> None:
    """The count has only open connections."""
    state = shared_state(per_address=1)
    key = state.acquire_slot("203.0.113.5")
    refused = state.acquire_slot("::ffff:203.0.113.5")
    state.release_slot(refused)
    state.release_slot(key)

    assert refused is None
    assert not state.connections_per_address


@pytest.mark.parametrize("address", ["10.0.0.1", ""], ids=["trusted-proxy", "no-address"])
def test_some_are_not_counted(address: str) -> None:
    """A trusted proxy has many clients, and a peer without an address cannot be identified."""
    state = shared_state(per_address=1)
    keys = [state.acquire_slot(address) for _ in range(9)]
    for key in keys:
        state.release_slot(key)

    assert keys == [""] * 9
    assert not state.connections_per_address


@pytest.mark.parametrize(("soft", "cap"), [(256, 204), (1024, 819), (resource.RLIM_INFINITY, 65_536)])
def test_a_fifth_of_the_descriptors_is_kept_for_others(soft: int, cap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream, the store and the log need some too."""
    monkeypatch.setattr("proxy.http.server.limits.getrlimit", lambda _: (soft, resource.RLIM_INFINITY))

    assert ConnectionLimits().connections == cap


class Server:
    def __init__(self) -> None:
        self.default_headers: list[tuple[bytes, bytes]] = []
        self.tasks: set[asyncio.Task[None]] = set()


class Connection:
    """Connection that notes in which turn of the loop it was looked at, and leaves where *leaves* says so."""

    def __init__(self, state: SharedState, turns: list[int]) -> None:
        self.state = state
        self.turns = turns
        self.leaves: Connection | None = None
        self.seen: list[int] = []

    def drain(self) -> None: ...

    def check_timeouts(self, now: float) -> None:
        self.seen.append(self.turns[0])
        if self.leaves is not None:
            self.state.connections.discard(self.leaves)


async def test_many_connections_are_looked_at_in_parts() -> None:
    """All are seen in each sweep, and never more than twenty of them in one turn of the event loop."""
    state, turns = SharedState(ConnectionLimits(sweep=0.01)), [0]
    connections = [Connection(state, turns) for _ in range(201)]
    state.connections.update(connections)
    state.add(connections[0], Server())
    while min(len(one.seen) for one in connections) < 3:
        turns[0] += 1
        await asyncio.sleep(0)
    state.connections.clear()

    looks = Counter(turn for one in connections for turn in one.seen)
    assert max(looks.values()) == 20
    assert max(len(one.seen) for one in connections) <= 4


async def test_a_late_loop_does_not_stretch_a_sweep() -> None:
    """A stop of the loop makes all parts due at once; each does not wait its pause from then on."""
    state, turns = SharedState(ConnectionLimits(sweep=0.5)), [0]
    connections = [Connection(state, turns) for _ in range(1000)]
    state.connections.update(connections)
    state.add(connections[0], Server())
    time.sleep(0.5)  # noqa: ASYNC251 the loop is stopped until all parts are due
    turned = 0
    while min(len(one.seen) for one in connections) < 1:
        turned += 1
        await asyncio.sleep(0)
    state.connections.clear()

    assert turned < 1000


async def test_a_connection_that_has_gone_is_not_looked_at() -> None:
    """A connection may close between two parts of a sweep, or by the look at another one."""
    state = SharedState(ConnectionLimits(sweep=0.001))
    first, second = (Connection(state, [0]) for _ in range(2))
    first.leaves, second.leaves = second, first
    state.connections.update([first, second])
    state.add(first, Server())
    await asyncio.sleep(0)
    state.connections.clear()

    assert sorted(len(one.seen) for one in (first, second)) == [0, 1]
