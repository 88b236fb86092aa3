"""Which server a store's URL means: the one it names, the master its Sentinels name, or one node of a Cluster.

    redis://[user:password@]host:port/db?option=value                             one server; rediss:// with TLS
    unix://[user:password@]/path/to.sock?db=0                                     one server
    redis+sentinel://[user:password@]host:port[,host:port...]/service[/db]        the master of *service*
    redis+cluster://[user:password@]host:port[,host:port...]                      the Cluster these nodes belong to

`rediss+sentinel` and `rediss+cluster` speak TLS to all of them, with redis-py's `ssl_*` options after the `?`. User and
password are the servers' own; Sentinels that ask for one get `sentinel_username` and `sentinel_password` of the query.

In a Cluster all our keys are in one slot, so on one node: a step of the ledger is atomic over a caller's allowances and
those all callers share, and no Cluster does that across slots. While that slot is moved key by key, calls may fail.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterable, Sequence
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import MovedError, RedisError

# redis-py's own timeouts and retries are off, the deadline of a batch stands for them all. RESP3 would bring messages
# that answer nothing.
OURS: dict[str, object] = {
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": None,
    "socket_connect_timeout": None,
    "health_check_interval": 0,
    "decode_responses": False,
    "protocol": 2,
}

Address = tuple[str, int]

_SEVERAL = re.compile(r"(rediss?)\+(sentinel|cluster)://([^/?#]*@)?([^@/?#]+)(?:/([^?#]*))?(?:\?([^#]*))?")
_PLACE = re.compile(r"(?P<service>[^/]+)(?:/(?P<db>[0-9]+))?")


class Topology(Protocol):
    """Makes connections, and connects them to the server that is the right one at that moment.

    *tag* stands before and after the prefix of every key. `connect` raises RedisError and OSError.
    """

    tag: tuple[bytes, bytes]

    def connection(self) -> AbstractConnection: ...

    async def connect(self, connection: AbstractConnection) -> None: ...


class OneServer:
    tag = (b"", b"")

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def connection(self) -> AbstractConnection:
        return _made(self._pool)

    async def connect(self, connection: AbstractConnection) -> None:
        await connection.connect()  # type: ignore[no-untyped-call]


class SentinelMaster:
    """The procedure of Redis's guidelines for Sentinel clients: ask the Sentinels, connect, check the role.

    They are asked all at once, and anew for each connection: one that hangs costs nothing.
    """

    tag = (b"", b"")

    def __init__(
        self, servers: ConnectionPool, sentinels: ConnectionPool, nodes: Sequence[Address], service: str
    ) -> None:
        self._servers = servers
        self._sentinels = sentinels
        self._nodes = nodes
        self._service = service

    def connection(self) -> AbstractConnection:
        return _made(self._servers)

    async def connect(self, connection: AbstractConnection) -> None:
        _aim(connection, await _first(self._master(node) for node in self._nodes))
        await connection.connect()  # type: ignore[no-untyped-call]
        role = await _answer(connection, "ROLE")
        if not isinstance(role, list) or role[0] != b"master":
            raise Unconnected("the Sentinels name a server that is no master")

    async def _master(self, node: Address) -> Address:
        said = await _asked(self._sentinels, node, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        if not isinstance(said, list):
            raise Unconnected("the Sentinels know no such service")
        return said[0].decode(), int(said[1])


class ClusterNode:
    """Any node tells which one owns the slot: it answers itself, or it says MOVED and where to."""

    tag = (b"{", b"}")

    def __init__(self, pool: ConnectionPool, nodes: Sequence[Address], prefix: bytes) -> None:
        self._pool = pool
        self._nodes = nodes
        self._key = b"{%b}" % prefix

    def connection(self) -> AbstractConnection:
        return _made(self._pool)

    async def connect(self, connection: AbstractConnection) -> None:
        _aim(connection, await _first(self._owner(node) for node in self._nodes))
        await connection.connect()  # type: ignore[no-untyped-call]

    async def _owner(self, node: Address) -> Address:
        try:
            await _asked(self._pool, node, "EXISTS", self._key)
        except MovedError as moved:
            return moved.host or node[0], moved.port
        return node


def topology(url: str, prefix: bytes) -> Topology:
    """Raises ValueError, without the URL, for one that is no good."""
    several = _SEVERAL.fullmatch(url)
    if several is None:
        return OneServer(_pool(url))
    scheme, kind, user, hosts, path, query = several.groups(default="")
    nodes = [_address(host) for host in hosts.split(",")]
    one = hosts.split(",")[0]
    options = dict(parse_qsl(query))
    if kind == "cluster":
        if path not in ("", "0"):
            raise ValueError("the store's URL names a database, and a Cluster has only one")
        return ClusterNode(_pool(f"{scheme}://{user}{one}?{urlencode(options)}"), nodes, prefix)
    place = _PLACE.fullmatch(path)
    if place is None:
        raise ValueError("the store's URL must end in /service or /service/db: redis+sentinel://host:port/service")
    own = {name: options.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    servers = _pool(f"{scheme}://{user}{one}/{place['db'] or 0}?{urlencode(options)}")
    sentinels = _pool(f"{scheme}://{one}?{urlencode({**options, **own})}")
    return SentinelMaster(servers, sentinels, nodes, unquote(place["service"]))


def _address(node: str) -> Address:
    parts = urlsplit(f"//{node}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ValueError("the store's URL must name every node as host:port")
    return host, port


def _pool(url: str) -> ConnectionPool:
    try:
        taken = parse_url(url).keys() & OURS.keys()
    except ValueError:
        raise ValueError("the store's URL is none of redis[s][+sentinel|+cluster]:// or unix://") from None
    if taken:
        raise ValueError(f"the store's URL must not set {', '.join(sorted(taken))}")
    pool = ConnectionPool.from_url(url, **OURS)
    try:
        _made(pool)
    except TypeError as error:
        raise ValueError(f"the store's URL has an unknown parameter: {error}") from error
    return pool


def _made(pool: ConnectionPool) -> AbstractConnection:
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection


def _aim(connection: AbstractConnection, address: Address) -> None:
    connection.host, connection.port = address  # type: ignore[attr-defined]  # all but those to a unix socket have them


async def _asked(pool: ConnectionPool, node: Address, *command: str | bytes) -> object:
    connection = _made(pool)
    _aim(connection, node)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        return await _answer(connection, *command)
    finally:
        await connection.disconnect(nowait=True)


async def _answer(connection: AbstractConnection, *command: str | bytes) -> object:
    await connection.send_command(*command)
    answer: object = await connection.read_response()
    return answer


async def _first(questions: Iterable[Coroutine[object, object, Address]]) -> Address:
    """The first address that is told; raises what the last question failed with."""
    asked = [asyncio.create_task(_outcome(question)) for question in questions]
    failure: Exception = Unconnected("nobody to ask")
    try:
        for told in asyncio.as_completed(asked):
            outcome = await told
            if not isinstance(outcome, Exception):
                return outcome
            failure = outcome
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    raise failure


async def _outcome(question: Coroutine[object, object, Address]) -> Address | Exception:
    try:
        return await question
    except (RedisError, OSError, ValueError) as error:  # ValueError: on what is not RESP, or no address
        return error
