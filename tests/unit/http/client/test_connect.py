from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from aiohappyeyeballs import AddrInfoType
from support.scripted_upstream import Peer, certificates, on_both_loops, serve, server_context, until

from proxy.errors import ConnectFailed
from proxy.http.client.connect import HEAD_START, connect_first, dial
from proxy.http.client.connection import Connection
from proxy.http.client.tls import tls_context


def address_info(listener: socket.socket) -> AddrInfoType:
    return listener.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", listener.getsockname()


@contextmanager
def silent() -> Iterator[AddrInfoType]:
    """An address that neither answers nor refuses: its queue is full, so the kernel drops each SYN."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield address_info(listener)
        for filler in fillers:
            filler.close()


@contextmanager
def listening() -> Iterator[AddrInfoType]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield address_info(listener)


def refusing() -> AddrInfoType:
    with listening() as address:
        return address


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def stay(peer: Peer) -> None:
    await peer.gone()


@on_both_loops
async def test_a_silent_address_costs_a_head_start_only() -> None:
    """The next address is tried while the first still hangs, and what lost is closed."""
    loop = asyncio.get_running_loop()
    with silent() as hanging, listening() as good:
        before, began = descriptors(), loop.time()
        winner = await connect_first([hanging, good])

        assert winner.getpeername() == good[4]
        assert HEAD_START - 0.01 < loop.time() - began < 3
        winner.close()
        await until(lambda: descriptors() == before)


@on_both_loops
async def test_a_refusal_starts_the_next_address_at_once() -> None:
    """Only silence costs a head start."""
    loop = asyncio.get_running_loop()
    with listening() as good:
        began = loop.time()
        winner = await connect_first([refusing(), refusing(), good])

        assert winner.getpeername() == good[4]
        assert loop.time() - began < HEAD_START
        winner.close()


@on_both_loops
async def test_a_late_first_address_still_wins() -> None:
    """An attempt that the next one overtakes goes on; the first to connect is returned, the other closed."""
    with listening() as first, listening() as second:
        before = descriptors()
        winner = await connect_first([first, second], head_start=0.0)

        assert winner.getpeername() in (first[4], second[4])
        winner.close()
        await until(lambda: descriptors() == before)


@on_both_loops
async def test_when_no_address_connects() -> None:
    """The error is that of the addresses, after all have been tried."""
    with pytest.raises(ConnectionRefusedError):
        await connect_first([refusing(), refusing()])


@on_both_loops
async def test_a_refusal_does_not_end_the_race_for_others() -> None:
    """With every address tried, the race waits for those still under way."""
    before = descriptors()
    with silent() as hanging:
        racing = asyncio.create_task(connect_first([hanging, refusing()], head_start=0.01))
        done, _ = await asyncio.wait([racing], timeout=0.1)

        assert not done
        racing.cancel()
        await asyncio.wait([racing])
    await until(lambda: descriptors() == before)


@on_both_loops
async def test_families_alternate() -> None:
    """A broken family costs one head start, however many addresses it has (RFC 8305 section 4)."""
    loop = asyncio.get_running_loop()
    with silent() as hanging, socket.create_server(("::1", 0), family=socket.AF_INET6) as good:
        began = loop.time()
        winner = await connect_first([hanging, hanging, hanging, hanging, address_info(good)], head_start=1.0)

        assert winner.getpeername() == good.getsockname()
        assert loop.time() - began < 2.0
        winner.close()


@on_both_loops
async def test_a_refused_connection_is_a_connect_failure() -> None:
    """The error names what the system said and knows that nothing was sent."""
    with pytest.raises(ConnectFailed, match="ConnectionRefusedError") as caught:
        await dial(Connection(max_head=1000), "127.0.0.1", int(refusing()[4][1]), tls=None)

    assert (caught.value.sent, caught.value.received) == (False, False)


@on_both_loops
async def test_an_unknown_name_is_a_connect_failure() -> None:
    """A name under `.invalid` does not resolve (RFC 2606)."""
    with pytest.raises(ConnectFailed):
        await dial(Connection(max_head=1000), "upstream.invalid", 443, tls=None)


def outdated(authority: trustme.CA) -> ssl.SSLContext:
    context = server_context(authority, "localhost")
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # or OpenSSL itself would not speak it
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@on_both_loops
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("fault", ["other name", "other authority", "TLS 1.1", "not TLS", "closes"])
async def test_a_peer_that_does_not_prove_itself(fault: str, tmp_path: Path) -> None:
    """No connection without a certificate for the name, from the given authority, over TLS 1.2 or newer."""
    ours, stranger = certificates(tmp_path / "ours"), certificates(tmp_path / "stranger")
    contexts = {
        "other name": server_context(ours.authority, "other.test"),
        "other authority": stranger.server,
        "TLS 1.1": outdated(ours.authority),
    }

    async def script(peer: Peer) -> None:
        if fault == "not TLS":
            await peer.reader.read(1)
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await peer.gone()

    async with serve(script, tls=contexts.get(fault)) as server:
        before = descriptors()
        for _ in range(3):
            with pytest.raises(ConnectFailed):
                await dial(Connection(max_head=1000), "localhost", server.port, tls=tls_context(ours.ca_file))
        await until(lambda: descriptors() == before)


@on_both_loops
async def test_cancelling_a_handshake_closes_it() -> None:
    """A peer that never answers the handshake keeps neither a socket nor the caller."""
    async with serve(stay) as server:
        before = descriptors()
        dialled = asyncio.create_task(dial(Connection(max_head=9), "localhost", server.port, tls=tls_context()))
        await until(lambda: bool(server.peers))
        dialled.cancel()
        await asyncio.wait([dialled])

        assert dialled.cancelled()
        await until(lambda: not server.peers and descriptors() <= before)


@on_both_loops
async def test_cancelling_at_any_turn_leaves_nothing_open(tmp_path: Path) -> None:
    """Wherever the cancellation falls, the peer sees the connection end and no descriptor stays."""
    ours = certificates(tmp_path)
    async with serve(stay, tls=ours.server) as server:
        tls = tls_context(ours.ca_file)
        before, turns, completed = descriptors(), 0, 0
        while completed < 5:
            connection = Connection(max_head=1000)
            dialled = asyncio.create_task(dial(connection, "localhost", server.port, tls=tls))
            for _ in range(turns):
                await asyncio.sleep(0)
            dialled.cancel()
            await asyncio.wait([dialled])
            turns += 1
            if not dialled.cancelled():
                completed += 1
                connection.abort()
        await until(lambda: not server.peers and descriptors() <= before)
