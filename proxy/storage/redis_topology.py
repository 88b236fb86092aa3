"""Servers that a store's URL names: a single server, a Sentinel master, or a node of a Cluster.

    redis://[user:password@]host:port/db?option=value                             one server; rediss:// with TLS
    unix://[user:password@]/path/to.sock?db=0                                     one server
    redis+sentinel://[user:password@]host:port[,host:port...]/service[/db]        the master of *service*
    redis+cluster://[user:password@]host:port[,host:port...]                      the Cluster these nodes belong to

`rediss+sentinel` and `rediss+cluster` use TLS to all servers, with redis-py's `ssl_*` options in the query. User and
password are those of the servers. Sentinels with a password get `sentinel_username` and `sentinel_password`.

In a Cluster all keys are in one slot and therefore on one node. A step of the ledger is atomic over several
accounts, which a Cluster offers only within a slot. Calls may fail while the slot migrates.
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
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError

# The client has its own time-outs and never retries, so those of redis-py are off. RESP3 would deliver push messages,
# which are no reply to a command.
CONNECTION_OPTIONS: dict[str, object] = {
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": None,
    "socket_connect_timeout": None,
    "health_check_interval": 0,
    "decode_responses": False,
    "protocol": 2,
}

Address = tuple[str, int]

_MULTIPLE_HOSTS = re.compile(r"(rediss?)\+(sentinel|cluster)://([^/?#]*@)?([^@/?#]+)(?:/([^?#]*))?(?:\?([^#]*))?")
_SERVICE_PATH = re.compile(r"(?P<service>[^/]+)(?:/(?P<db>[0-9]+))?")


class Topology(Protocol):
    """Makes connections and connects them to the server that is responsible at that moment.

    *tag* encloses the prefix of every key. `connect` raises RedisError and OSError.
    """

    tag: tuple[bytes, bytes]

    def connection(self) -> AbstractConnection: ...

    async def connect(self, connection: AbstractConnection) -> None: ...


class SingleServer:
    """Topology of one server."""

    tag = (b"", b"")

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def connection(self) -> AbstractConnection:
        return _make_connection(self._pool)

    async def connect(self, connection: AbstractConnection) -> None:
        await connection.connect()  # type: ignore[no-untyped-call]


class SentinelMaster:
    """Topology of the master that Sentinels name.

    It follows Redis's guidelines for Sentinel clients: it queries the Sentinels, connects and checks the server's role.
    All Sentinels are queried at once, again for each connection, so one that hangs costs nothing.
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
        return _make_connection(self._servers)

    async def connect(self, connection: AbstractConnection) -> None:
        _set_address(connection, await _first_address(self._master(node) for node in self._nodes))
        await connection.connect()  # type: ignore[no-untyped-call]
        role = await _execute(connection, "ROLE")
        if not isinstance(role, list) or role[0] != b"master":
            raise RedisConnectionError("the server that the Sentinels name is not a master")

    async def _master(self, node: Address) -> Address:
        reply = await _query(self._sentinels, node, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        if not isinstance(reply, list):
            raise RedisConnectionError("the Sentinels have no such service")
        return reply[0].decode(), int(reply[1])


class ClusterNode:
    """Topology of the Cluster node that has the slot of the keys; other nodes reply with its address."""

    tag = (b"{", b"}")

    def __init__(self, pool: ConnectionPool, nodes: Sequence[Address], prefix: bytes) -> None:
        self._pool = pool
        self._nodes = nodes
        self._key = b"{%b}" % prefix

    def connection(self) -> AbstractConnection:
        return _make_connection(self._pool)

    async def connect(self, connection: AbstractConnection) -> None:
        _set_address(connection, await _first_address(self._owner(node) for node in self._nodes))
        await connection.connect()  # type: ignore[no-untyped-call]

    async def _owner(self, node: Address) -> Address:
        try:
            await _query(self._pool, node, "EXISTS", self._key)
        except MovedError as moved:
            return moved.host or node[0], moved.port
        return node


def topology(url: str, prefix: bytes) -> Topology:
    """Returns the topology that *url* describes. Raises ValueError, without the URL, for an invalid one."""
    match = _MULTIPLE_HOSTS.fullmatch(url)
    if match is None:
        return SingleServer(_pool(url))
    scheme, kind, user, hosts, path, query = match.groups(default="")
    nodes = [_address(host) for host in hosts.split(",")]
    first = hosts.split(",")[0]
    options = dict(parse_qsl(query))
    if kind == "cluster":
        if path not in ("", "0"):
            raise ValueError("the store's URL names a database, and a Cluster has only one")
        return ClusterNode(_pool(f"{scheme}://{user}{first}?{urlencode(options)}"), nodes, prefix)
    service = _SERVICE_PATH.fullmatch(path)
    if service is None:
        raise ValueError("the store's URL must end in /service or /service/db: redis+sentinel://host:port/service")
    credentials = {name: options.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    servers = _pool(f"{scheme}://{user}{first}/{service['db'] or 0}?{urlencode(options)}")
    sentinels = _pool(f"{scheme}://{first}?{urlencode({**options, **credentials})}")
    return SentinelMaster(servers, sentinels, nodes, unquote(service["service"]))


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
        reserved = parse_url(url).keys() & CONNECTION_OPTIONS.keys()
    except ValueError:
        raise ValueError("the store's URL is none of redis[s][+sentinel|+cluster]:// or unix://") from None
    if reserved:
        raise ValueError(f"the store's URL must not set {', '.join(sorted(reserved))}")
    pool = ConnectionPool.from_url(url, **CONNECTION_OPTIONS)
    try:
        _make_connection(pool)
    except TypeError as error:
        raise ValueError(f"the store's URL has an unknown parameter: {error}") from error
    return pool


def _make_connection(pool: ConnectionPool) -> AbstractConnection:
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection


def _set_address(connection: AbstractConnection, address: Address) -> None:
    connection.host, connection.port = address  # type: ignore[attr-defined]  # a connection to a unix socket has neither, and no topology sets them there


async def _query(pool: ConnectionPool, node: Address, *command: str | bytes) -> object:
    connection = _make_connection(pool)
    _set_address(connection, node)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        return await _execute(connection, *command)
    finally:
        await connection.disconnect(nowait=True)


async def _execute(connection: AbstractConnection, *command: str | bytes) -> object:
    await connection.send_command(*command)
    reply: object = await connection.read_response()
    return reply


async def _first_address(queries: Iterable[Coroutine[object, object, Address]]) -> Address:
    """Returns the first address that a query yields; raises the error of the last query if all fail."""
    tasks = [asyncio.create_task(_result(query)) for query in queries]
    failure: Exception = RedisConnectionError("the URL names no server")
    try:
        for completed in asyncio.as_completed(tasks):
            result = await completed
            if not isinstance(result, Exception):
                return result
            failure = result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise failure


async def _result(query: Coroutine[object, object, Address]) -> Address | Exception:
    try:
        return await query
    except (RedisError, OSError, ValueError) as error:  # ValueError: the reply was not RESP, or no address
        return error
