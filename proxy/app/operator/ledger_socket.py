"""Unix socket by which commands change the ledger of the running gateway: one JSON line in, one out."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson

from proxy.app.operator.operator_steps import OperatorSteps
from proxy.errors import FalProxyError
from proxy.strict_json import Json

MAX_LINE = 64 * 1024  # bytes of a command
MAX_PATH = 100  # bytes of a socket's path that every system takes
READ_SECONDS = 5.0


class LedgerSocket:
    """Socket at *path*, of mode 0600: only the user that the gateway runs as, and root, can open it."""

    def __init__(self, path: str, steps: OperatorSteps) -> None:
        self._path = path
        self._steps = steps
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens. An existing socket is of a process that has ended, since the ledger is locked.

        Raises ValueError where the path is too long, and OSError.
        """
        if len(os.fsencode(self._path)) > MAX_PATH:
            raise ValueError(f"the path {self._path} is too long for a socket: commands cannot reach the ledger")
        self._unlink()
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_LINE)
        finally:
            os.umask(mask)

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
            self._unlink()

    def _unlink(self) -> None:
        Path(self._path).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                line = await reader.readline()
            writer.write(orjson.dumps(await self._answer(line)) + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass  # the command is gone, or sent no line
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            step, fields = _parse(line)
            return {"result": await self._steps.run(step, fields)}
        except (ValueError, FalProxyError) as error:
            return {"error": str(error)}


def _parse(line: bytes) -> tuple[str, dict[str, Json]]:
    message = orjson.loads(line)
    fields = message.get("fields") if isinstance(message, dict) else None
    if isinstance(fields, dict):
        return str(message.get("step")), fields
    raise ValueError("not a step and its fields")


async def send_step(path: str, step: str, fields: object) -> object:
    """Sends one step to the gateway that listens at *path*, and returns its result.

    Raises OSError where none listens, and ValueError with the gateway's message.
    """
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(orjson.dumps({"step": step, "fields": fields}) + b"\n")
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
    reply = orjson.loads(line) if line else {"error": "the gateway gave no answer"}
    if "error" in reply:
        raise ValueError(reply["error"])
    return reply["result"]
