"""Procedures of docs/runbook.md: keys and secrets are replaced under load, and no request fails."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
import pytest
from support.budgets import (
    AUDIENCE,
    HOST,
    ISSUER,
    LIMITS,
    PATIENCE,
    SCHEMA,
    Gateway,
    StoreKind,
    Valkey,
    adjacent_ports,
    toml,
    until,
)
from support.sandbox import QUICK, Rig, running
from support.webhooks import App, listening

from proxy.auth.token_minting import mint

OLD_KEY, NEW_KEY = "old-account:canary-1a7c55", "new-account:canary-92be04"
APP, ENDPOINT = "fal-ai/rotated", "fal-ai/rotated/model"
CALLERS, PACE = 2, 0.05  # seconds between two jobs of one caller, and between two polls
SLOW = 4  # times PATIENCE for a reload on a busy machine


def secret(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def webhook_secret(name: str) -> str:
    return "whsec_" + base64.b64encode(f"{name} webhook secret of the app".encode()).decode()


FILES = ("FAL_KEYS", "FAL_PROXY_HANDLE_SECRETS", "FAL_PROXY_WEBHOOK_SECRETS", "SESSION_SECRET")
OLD, NEW = "old", "new"
HANDLES, HOOKS, SESSIONS = (
    {name: make(f"{kind}{name}") for name in (OLD, NEW)}
    for kind, make in (("handle", secret), ("", webhook_secret), ("session", secret))
)
BEFORE = (OLD_KEY, HANDLES[OLD], HOOKS[OLD], SESSIONS[OLD])
ADDED = (
    f"{OLD_KEY}\nnext={NEW_KEY};0",
    f"{HANDLES[OLD]},{HANDLES[NEW]}",
    f"{HOOKS[NEW]},{HOOKS[OLD]}",
    f"{SESSIONS[OLD]},{SESSIONS[NEW]}",
)
SWITCHED = (f"{OLD_KEY};0\nnext={NEW_KEY}", f"{HANDLES[NEW]},{HANDLES[OLD]}", *ADDED[2:])
REMOVED = (f"next={NEW_KEY}", HANDLES[NEW], HOOKS[NEW], SESSIONS[NEW])


@dataclass
class Callers:
    """Callers that submit, poll and read jobs one after the other, each request over a new connection.

    *session* is the secret that the app signs sessions with now.
    """

    url: str
    session: str = SESSIONS[OLD]
    statuses: Counter[str] = field(default_factory=Counter)
    handles: list[str] = field(default_factory=list)
    over: bool = False
    done: Counter[int] = field(default_factory=Counter)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Block during which they call; it begins once each has finished a job, and ends with whole jobs."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(CALLERS):
                tasks.create_task(self._call(number))
            try:
                await self.finish_jobs()
                yield
            finally:
                self.over = True

    async def finish_jobs(self) -> None:
        """Returns once each caller has finished every job that it has begun by now."""
        goal = {number: self.done[number] + 2 for number in range(CALLERS)}
        await until(lambda: self.over or all(self.done[number] >= count for number, count in goal.items()))

    async def _call(self, number: int) -> None:
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with httpx2.AsyncClient(base_url=f"{self.url}/api/fal/queue/", limits=limits, timeout=PATIENCE) as client:
            while not self.over:
                client.headers["authorization"] = f"Bearer {self._token(f'user-{number}')}"
                await self._finish_a_job(client)
                self.done[number] += 1
                await asyncio.sleep(PACE)

    async def _finish_a_job(self, client: httpx2.AsyncClient) -> None:
        submitted = await self._send("submit", lambda: client.post(ENDPOINT, json={"prompt": "a cat"}))
        if submitted is None or submitted.status_code != 200:
            return
        handle = submitted.json()["request_id"]
        self.handles.append(handle)
        job = f"{APP}/requests/{handle}"
        status = await self._send("status", lambda: client.get(f"{job}/status"))
        while status is not None and status.status_code == 202:
            await asyncio.sleep(PACE)  # the workers that start need the machine
            status = await self._send("status", lambda: client.get(f"{job}/status"))
        await self._send("result", lambda: client.get(job))

    async def _send(self, kind: str, send: Callable[[], object]) -> httpx2.Response | None:
        try:
            answer = await send()  # type: ignore[misc]
        except httpx2.TransportError as error:
            self.statuses[f"{kind} {type(error).__name__}"] += 1
            return None
        assert isinstance(answer, httpx2.Response)
        failure = "" if answer.status_code < 300 else answer.text
        self.statuses[f"{kind} {answer.status_code} {failure}".rstrip()] += 1
        return answer

    def _token(self, subject: str) -> str:
        return mint(
            algorithm="HS256",
            key=self.session.encode(),
            issuer=ISSUER,
            audience=AUDIENCE,
            subject=subject,
            lifetime=3600,
            now=time.time(),
        )


@dataclass(frozen=True)
class Setup:
    """A gateway whose secrets are in files of *folder*, its callers, the app and the sandbox."""

    folder: Path
    gateway: Gateway
    callers: Callers
    app: App
    upstream: Rig

    async def reload_with(self, contents: tuple[str, ...]) -> None:
        """Writes the secrets, sends SIGHUP, and returns once all workers have made jobs with them."""
        write(self.folder, contents)
        number = len(self.gateway.journal("reloaded"))
        os.kill(self.gateway.pid, signal.SIGHUP)
        for _ in range(SLOW):  # two workers start, one after the other, beside the callers
            with suppress(TimeoutError):
                await until(lambda: len(self.gateway.journal("reloaded")) > number)
        assert len(self.gateway.journal("reloaded")) > number
        await self.callers.finish_jobs()


def write(folder: Path, contents: tuple[str, ...]) -> None:
    for name, text in zip(FILES, contents, strict=True):
        (folder / name).write_text(f"{text}\n")


@asynccontextmanager
async def rotating(home: Path, store: StoreKind) -> AsyncIterator[Setup]:
    """One process on SQLite, or two workers on Valkey."""
    app, port, admin = App(), adjacent_ports(1), adjacent_ports(1)
    environ: Mapping[str, str] = {f"{name}_FILE": name for name in FILES}
    write(home, BEFORE)
    async with AsyncExitStack() as stack:
        settings = replace(QUICK, keys=frozenset({OLD_KEY, NEW_KEY}), concurrency=100)
        upstream = await stack.enter_async_context(running(settings))
        await stack.enter_async_context(listening(app.app))
        if store == "redis":
            valkey = Valkey(home / "valkey")
            await valkey.start()
            stack.push_async_callback(valkey.stop)
            environ = {**environ, "FAL_PROXY_REDIS_URL": f"redis://{HOST}:{valkey.port}"}
        (home / "schema.json").write_text(json.dumps(SCHEMA))
        config = home / "gateway.toml"
        config.write_text(
            toml(
                server={"public_origin": f"http://{HOST}:{port}", "port": port, "max_connections_per_address": 1000},
                admin={"port": admin},
                fal={"queue_origin": upstream.queue, "run_origin": upstream.run, "rest_origin": upstream.rest},
                store={"kind": "memory" if store == "sqlite" else "redis"},
                ledger={"kind": store, "path": str(home / "ledger.db")},
                sessions=[
                    {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["HS256"], "secret_env": "SESSION_SECRET"}
                ],
                endpoints=[{"id": ENDPOINT, "schema_file": "schema.json"}],
                limits=LIMITS,
                webhooks={"mode": "gateway", "url": app.url},
            )
        )
        gateway = Gateway(config, environ, workers=2 if store == "redis" else 1, port=port, admin=admin)
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        yield Setup(home, gateway, Callers(gateway.url), app, upstream)


@pytest.mark.parametrize("store", ["sqlite", "redis"])
async def test_keys_and_secrets_rotate_without_a_failed_request(tmp_path: Path, store: StoreKind) -> None:
    """Fal key, handle, webhook and session secrets are added, made current and removed, each by a reload."""
    async with rotating(tmp_path, store) as setup:
        callers, app = setup.callers, setup.app
        async with callers.calling():
            await setup.reload_with(ADDED)
            assert not any("~" in handle for handle in callers.handles)
            switched_at = len(app.deliveries)
            callers.session = SESSIONS[NEW]
            await setup.reload_with(SWITCHED)
            assert "~next." in callers.handles[-1]
            await setup.reload_with(REMOVED)

        assert all(line.split()[1] in ("200", "202") for line in callers.statuses), callers.statuses
        assert callers.statuses["submit 200"] == len(set(callers.handles)) > 4 * CALLERS
        await until(lambda: len(set(app.acknowledged())) == len(callers.handles))
        assert set(app.acknowledged()) <= set(callers.handles)
        assert all(one.is_signed(HOOKS[OLD]) for one in app.deliveries[:switched_at])
        assert all(one.is_signed(HOOKS[NEW]) for one in app.deliveries[switched_at:])
        log = (tmp_path / "gateway.log").read_text()
        assert not any(part in log for part in ("canary", *HANDLES.values(), *SESSIONS.values(), *HOOKS.values()))
