import asyncio

from proxy.storage.redis_connection import MAX_BUFFERED, PipelinedConnection
from proxy.storage.redis_topology import topology

WAIT = 5.0  # seconds


async def test_room_of_the_write_buffer() -> None:
    """A connection has room while it is open and its write buffer is not full, as before the server reads."""
    may_read = asyncio.Event()
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while b"SETINFO" in (data := await reader.read(65536)):
            writer.write(b"+OK\r\n" * data.count(b"SETINFO"))
        await may_read.wait()
        while await reader.read(65536):
            pass
        writer.close()
        done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(WAIT):
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        connection = PipelinedConnection(topology(url, b""), on_reply=lambda reply: None, on_lost=lambda error: None)
        rooms = [connection.has_room]
        await connection.connect()
        rooms.append(connection.has_room)
        for _ in range(1000):
            if connection.has_room:
                connection.write([(b"ECHO", b"x" * MAX_BUFFERED)])
                await asyncio.sleep(0)
        rooms.append(connection.has_room)
        may_read.set()
        await connection.send([(b"PING",)])  # waits while the buffer is full
        rooms.append(connection.has_room)
        await connection.close()
        rooms.append(connection.has_room)
        await done.wait()

    assert rooms == [False, True, False, True, False]
