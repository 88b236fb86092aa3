"""The gateway in front of its own sandbox, in one process: what `fal-proxy demo` and `make run` start."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from proxy.app.process.gateway_server import GatewayServer
from proxy.app.service import stop_signal
from proxy.app.setup.components import Components, build_components
from proxy.auth.token_minting import mint
from proxy.config.loader import read
from proxy.demo.example_calls import ExampleCalls
from proxy.demo.instructions import PICTURE, demo_instructions
from proxy.demo.login import LoginApp, cookie_name
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.server import HttpServer, listening_socket
from proxy.http.server.state import SharedState
from proxy.payload.files.file_names import EXTENSIONS
from proxy.sandbox.app import BANNER, create_control, create_sandbox
from proxy.sandbox.settings import SandboxSettings

ENDPOINT = "fal-ai/hyper-sdxl/image-to-image"
# Credits of one call by endpoint. One is an image of 1024 x 1024 made in one step, or a second of video.
PRICES = {
    ENDPOINT: "input.num_images * number(input.num_inference_steps) * megapixels(input.image_size)",
    "fal-ai/flux/dev": "input.num_images * megapixels(input.image_size)",
    "fal-ai/nano-banana/edit": "input.num_images",
    "fal-ai/veo3.1": "seconds(input.duration)",
    "fal-ai/kling-video/v2.5-turbo/pro/image-to-video": "seconds(input.duration)",
    "fal-ai/minimax/speech-02-hd": "1",
    "fal-ai/wizper": "1",
    "fal-ai/bria/background/remove": "1",
    "openrouter/router": "1",
}
ISSUER, AUDIENCE = "https://demo.fal-proxy.test", "fal-proxy-demo"
USERS = ("alice", "bob")
STRANGER = "carol"  # has a job that the others cannot read; she does not sign in
CREDITS = {"alice": 20.0, "bob": 5.0}  # small: a few runs show what a budget does
JOBS = 4
# Seconds. A pause of the account stops the demo's other requests too, so a visitor waits for it.
PROBE_INTERVAL = 4.0
TOKEN_LIFETIME = 12 * 3600.0  # seconds; a working day at the sandbox


HOST = "127.0.0.1"


@dataclass(frozen=True)
class SandboxAddresses:
    """Origins of the sandbox's listeners."""

    queue: str
    run: str
    rest: str
    control: str


@asynccontextmanager
async def sandbox(
    settings: SandboxSettings, *, ports: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> AsyncIterator[SandboxAddresses]:
    """Runs a sandbox on *ports* of loopback (queue, run, rest, control; 0 takes a free one).

    The origins in *settings* are replaced by those of its listeners. Raises OSError where a port is in use.
    """
    sockets = [listening_socket(HOST, port, key="--port") for port in ports]
    origins = SandboxAddresses(*(f"http://{HOST}:{s.getsockname()[1]}" for s in sockets))
    apps = create_sandbox(
        replace(settings, queue_origin=origins.queue, run_origin=origins.run, rest_origin=origins.rest)
    )
    # The sandbox is the CDN too: one page may open many connections to it.
    limits = ConnectionLimits(per_address=10_000, body_time=600.0)
    applications = (apps.queue, apps.run, apps.rest, create_control(apps))
    listeners = [HttpServer(app, shared=SharedState(limits)) for app in applications]
    for listener, listening in zip(listeners, sockets, strict=True):
        await listener.start(sock=listening)
    try:
        yield origins
    finally:
        await apps.close()
        for listener in listeners:
            await listener.stop(1.0)


async def demo(*, port: int, as_json: bool, log: int) -> None:
    """Runs the demo, and prints a JSON line for scripts or instructions when it is ready.

    Returns after SIGTERM or SIGINT. Raises OSError where *port* is in use.
    """
    stopping = stop_signal()
    fal_key = f"sandbox:{secrets.token_hex(16)}"
    listening = listening_socket(HOST, port, key="--port")
    origin = f"http://{HOST}:{listening.getsockname()[1]}"
    async with sandbox(SandboxSettings(keys=frozenset({fal_key}))) as upstream:
        plan = build_demo(origin=origin, upstream=upstream, fal_key=fal_key)
        service = GatewayServer(
            plan.parts,
            log=log,
            around=lambda app: LoginApp(
                app, origin=origin, tokens=plan.tokens, budgets=CREDITS, examples=_examples(plan, upstream)
            ),
        )
        await service.start(sock=listening)
        operator = "http://{}:{}/".format(*service.admin_address)
        print(_for_scripts(plan, upstream) if as_json else _for_people(plan, upstream, operator), flush=True)
        await stopping.wait()
        await service.stop()


async def run_sandbox(*, port: int, settings: SandboxSettings) -> None:
    """Runs a sandbox on *port* and the next three, each a free one for 0, until SIGTERM or SIGINT.

    Raises OSError where a port is taken, CatalogError for unusable schema files.
    """
    stopping = stop_signal()
    ports = (port, port + 1, port + 2, port + 3) if port else (0, 0, 0, 0)
    async with sandbox(settings, ports=ports) as origins:
        print(BANNER)
        for name, origin in asdict(origins).items():
            print(f"  {name:8} {origin}", flush=True)
        await stopping.wait()


def _for_scripts(plan: Demo, upstream: SandboxAddresses) -> str:
    return json.dumps(
        {
            "url": plan.parts.config.server.public_origin,
            "upstream": upstream.queue,
            "control": upstream.control,
            "tokens": dict(plan.tokens),
        }
    )


@dataclass(frozen=True)
class Demo:
    """Components of a generated configuration, a token for each of its users, and one for the *stranger*."""

    parts: Components
    tokens: Mapping[str, str]
    stranger: str


def build_demo(*, origin: str, upstream: SandboxAddresses, fal_key: str, trusted_proxies: tuple[str, ...] = ()) -> Demo:
    """Builds a configuration for the gateway at *origin* and the sandbox *upstream*, with new secrets."""
    session_secret = secrets.token_urlsafe(48)
    document = {
        "server": {"public_origin": origin, "trusted_proxies": trusted_proxies},
        "admin": {"port": 0},
        "fal": {"queue_origin": upstream.queue, "run_origin": upstream.run, "rest_origin": upstream.rest},
        "sessions": [
            {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "HS256", "secret_env": "FAL_PROXY_SESSION_SECRET"}
        ],
        "cookie": {"name": cookie_name(origin), "allow_insecure_name": origin.startswith("http:")},
        "endpoints": [
            {"id": endpoint, "price": price, "files": {"hosts": ["*", "uploads"]}} for endpoint, price in PRICES.items()
        ],
        "uploads": {"content_types": list(EXTENSIONS)},
        "budgets": [
            {"name": "today", "per": "user", "window": "day", "tier_claim": "sub", "tiers": CREDITS, "limit": 20.0}
        ],
        "in_flight": [{"name": "jobs", "per": "user", "limit": JOBS}],
        "playground": {
            "enabled": True,
            "sandbox": True,
            "explain": True,
            "picture_hosts": [upstream.rest],
            "upload_hosts": [upstream.rest],
        },
    }
    environ = {
        "FAL_KEY": fal_key,
        "FAL_PROXY_SESSION_SECRET": session_secret,
        "FAL_PROXY_HANDLE_SECRETS": secrets.token_urlsafe(48),
    }
    tokens = {
        user: mint(
            algorithm="HS256",
            key=session_secret.encode(),
            issuer=ISSUER,
            audience=AUDIENCE,
            subject=user,
            lifetime=TOKEN_LIFETIME,
            now=time.time(),
        )
        for user in (*USERS, STRANGER)
    }
    stranger = tokens.pop(STRANGER)
    parts = replace(build_components(read(document, environ, base=Path())), probe_interval=PROBE_INTERVAL)
    return Demo(parts, tokens, stranger)


def _examples(plan: Demo, upstream: SandboxAddresses) -> ExampleCalls:
    server = plan.parts.config.server
    return ExampleCalls(
        url=f"{server.public_origin}{server.prefix}",
        token=plan.stranger,
        control=upstream.control,
        endpoint=ENDPOINT,
        payload={"image_url": PICTURE, "prompt": "a lighthouse", "image_size": "square"},
    )


def _for_people(plan: Demo, upstream: SandboxAddresses, operator: str) -> str:
    server = plan.parts.config.server
    return "\n".join(
        [
            BANNER,
            "",
            f"  Open      {server.public_origin}/   to sign in and make a picture",
            "",
            f"  Operator  {operator}   to see requests, spend and refusals",
            f"  Gateway   {server.public_origin}{server.prefix}",
            f"  Sandbox   {upstream.queue}   its knobs: {upstream.control}",
            demo_instructions(f"{server.public_origin}{server.prefix}", endpoint=ENDPOINT, token=plan.tokens["alice"]),
        ]
    )
