"""Clicks of many users by fal's own Python client; the same task, answers and end as in `clicks.mjs`.

FAL_QUEUE_RUN_HOST and SSL_CERT_FILE lead to the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import time
from typing import Any

import fal_client
import httpx


class Clicker:
    """Users of one task."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._clients = [fal_client.AsyncClient(key=session) for session in task["sessions"]]
        self._numbers = itertools.count()
        self.over = asyncio.Event()

    async def run(self) -> None:
        """Clicks until *over*."""
        if not self._task.get("rate"):
            await asyncio.gather(*map(self._caller, range(self._task["callers"])))
            return
        started, clicks = time.monotonic(), set()
        for number in itertools.count(1):
            if self.over.is_set():
                break
            clicks.add(asyncio.create_task(self._click(number)))
            await self._wait(started + number / self._task["rate"] - time.monotonic())
        await asyncio.gather(*clicks)

    async def _caller(self, number: int) -> None:
        while not self.over.is_set():
            await self._click(number)
            await self._wait(self._task["pause"])

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), max(0.0, seconds))

    async def _click(self, number: int) -> None:
        prompt, begun = f"{self._task['name']}-{next(self._numbers)}", time.time()
        client = self._clients[number % len(self._clients)]
        outcome: dict[str, Any] = {}
        for by_hand in range(self._task.get("hands", 5) + 1):
            outcome = {**await self._submit(client, prompt), "byHand": by_hand}
            if outcome["status"] not in (0, 502, 503):
                break
        print(json.dumps({"click": prompt, "begun": begun, "ended": time.time(), **outcome}), flush=True)

    async def _submit(self, client: fal_client.AsyncClient, prompt: str) -> dict[str, Any]:
        try:
            handle = await client.submit(self._task["endpoint"], arguments={**self._task["input"], "prompt": prompt})
        except fal_client.FalClientHTTPError as error:
            return {"status": error.status_code, "message": str(error)[:200]}
        except httpx.TransportError as error:
            return {"status": 0, "message": repr(error)[:200]}
        return {"status": 200, "requestId": handle.request_id}


async def main() -> None:
    """Reads the task and clicks until standard input ends."""
    clicker = Clicker(json.loads(await asyncio.to_thread(sys.stdin.readline)))
    running = asyncio.create_task(clicker.run())
    await asyncio.to_thread(sys.stdin.read)
    clicker.over.set()
    await running


if __name__ == "__main__":
    asyncio.run(main())
