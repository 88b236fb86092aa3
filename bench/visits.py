"""Load of whole visits, in a process of its own: `python -m bench.visits PORT RATE`.

A visit is a submit, its polls or its stream, and its result. It ends with the standard input, and prints its counts
as JSON. A share of the requests is broken off by the client.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.budgets import APP, INPUT, PREFIX, endpoint, token

USERS = 20
DISCONNECTS = 0.05  # share of the requests
REQUESTS = 4  # of one visit, as measured
_SOON = 0.03  # seconds; a request that is broken off is so within this time, a stream within ten times of it
_TOKEN_TIME = 300.0  # seconds; users renew their sessions as an app does
_PAUSE, _POLLS = 0.15, 20
_TIMEOUT = 30.0


class Visits:
    """Visits of USERS users. *counts* has the requests by action and status; 0 is a broken connection."""

    def __init__(self, port: int) -> None:
        self.counts: Counter[str] = Counter()
        self._number = 0
        self._tokens: dict[str, tuple[float, str]] = {}
        self._client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}{PREFIX}/queue",
            headers={"host": "app.example.com"},
            limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=20, keepalive_expiry=20),
            timeout=_TIMEOUT,
            trust_env=False,
        )

    async def run(self, rate: float, over: asyncio.Event) -> None:
        """Makes about *rate* requests a second until *over*, then waits for the visits under way."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as group:
            while not over.is_set():
                due += random.expovariate(rate / REQUESTS)
                await asyncio.sleep(max(0.0, due - loop.time()))
                self._number += 1
                group.create_task(self._visit(self._number))
        await self._client.aclose()

    async def _visit(self, number: int) -> None:
        user = f"user-{number % USERS}"
        body = {**INPUT, "prompt": f"visit {number}"}
        submitted = await self._ask("submit", "POST", endpoint(number % 2), user, body)
        if submitted is None or submitted.status_code != 200:
            return
        job = f"{APP}/requests/{submitted.json()['request_id']}"
        if number % 10 == 0:
            await self._ask("cancel", "PUT", f"{job}/cancel", user)
        elif number % 2:
            await self._ask("status-stream", "GET", f"{job}/status/stream", user)
        for _ in range(_POLLS):
            status = await self._ask("status", "GET", f"{job}/status", user)
            if status is not None and status.status_code == 200:
                await self._ask("result", "GET", job, user)
                return
            await asyncio.sleep(_PAUSE)

    async def _ask(self, action: str, method: str, path: str, user: str, body: object = None) -> httpx2.Response | None:
        soon = _SOON * 10 if action == "status-stream" else _SOON
        limit = random.uniform(0, soon) if random.random() < DISCONNECTS else _TIMEOUT
        content = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self._token(user)}", "content-type": "application/json"}
        try:
            async with asyncio.timeout(limit):
                answer = await self._client.request(method, f"/{path}", headers=headers, content=content)
        except TimeoutError:
            self.counts[f"{action} {'late' if limit == _TIMEOUT else 'broken off'}"] += 1
            return None
        except httpx2.TransportError:
            self.counts[f"{action} 0"] += 1
            return None
        self.counts[f"{action} {answer.status_code}"] += 1
        return answer

    def _token(self, user: str) -> str:
        since, text = self._tokens.get(user, (0.0, ""))
        if not text or time.monotonic() > since + _TOKEN_TIME:
            since, text = self._tokens[user] = time.monotonic(), token(user)
        return text


async def main(port: int, rate: float) -> None:
    """Runs the load until the standard input ends."""
    over, visits = asyncio.Event(), Visits(port)
    running = asyncio.create_task(visits.run(rate, over))
    await asyncio.to_thread(sys.stdin.read)
    over.set()
    await running
    print(json.dumps(visits.counts))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
