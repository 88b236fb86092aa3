"""The contenders: how each is started, and how much of the job it does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.open_jobs import fill
from bench.prerequisites import NAIVE_PYTHON
from bench.processes import CONTENDER_CORE, Server, free_port
from bench.rig import CONTENDERS, Rig

Kind = Literal["poll", "submit"]
Mix = Literal["per-user", "fresh"]
Cell = tuple[Kind, Mix]

PER_USER: tuple[Cell, ...] = (("poll", "per-user"), ("submit", "per-user"))
FAL_PROXY = Path(sys.executable).with_name("fal-proxy")
SUBMITS: tuple[Cell, ...] = (("submit", "per-user"),)
ALONE_NAME = "gateway, calls without limits not in the ledger"
ALL: tuple[Cell, ...] = (*PER_USER, ("poll", "fresh"), ("submit", "fresh"))


@dataclass(frozen=True)
class Contender:
    """A contender.

    With *handles* it is polled with the ids that a gateway gave out, with *own_handles* with its own.

    *warm_first* and *warm* are seconds of load before the first and before every further visit. Whether it *verifies*
    sessions, *limits* users, *validates* bodies, *keeps_status*.
    """

    name: str
    start: Callable[[Rig], Server]
    cells: tuple[Cell, ...] = ALL
    handles: bool = False
    own_handles: bool = False
    verifies: bool = True
    limits: bool = True
    validates: bool = True
    keeps_status: bool = True
    uses_store: bool = False
    warm_first: float = 2.0
    warm: float = 2.0


def gateway(
    name: str,
    *,
    plain: bool = False,
    store: str = "memory",
    ledger: str | None = None,
    limited: bool = True,
    joins: bool = True,
    open_jobs: int = 0,
    max_lag: float | None = None,
    workers: int = 1,
    cores: Collection[int] = (CONTENDER_CORE,),
    server: Sequence[str] = (),
    program: Path = FAL_PROXY,
    contenders: Path = CONTENDERS,
) -> Callable[[Rig], Server]:
    """Returns the start of a gateway, run by `fal-proxy serve` as shipped.

    A feature whose price is wanted by itself becomes one more argument here. *limited*: with budgets and in-flight
    limits. *joins*: a repeat joins a call whose caller was lost, so that each call is in the ledger. *open_jobs* are in
    the ledger before the start. *max_lag* is `overload.max_lag_seconds`. *server* are arguments of `python -m` in place
    of `serve`. *program* and *contenders* are the command and the folder of its configuration.
    """

    def start(rig: Rig) -> Server:
        port = free_port()
        config = rig.fill(
            "gateway.toml",
            f"{name}.toml",
            contenders,
            port=port,
            admin=free_port(),
            store=store,
            price="" if ledger is None else 'price = "input.num_images * megapixels(input.image_size)"',
            prefix=name,
            ledger=_ledger(ledger, rig.home / f"{name}.db", limited, joins=joins, several=workers > 1),
            overload="" if max_lag is None else f"[overload]\nmax_lag_seconds = {max_lag}",
            origin=f"http://localhost:{rig.plain}" if plain else f"https://localhost:{rig.tls}",
        )
        several = [] if workers == 1 else ["--workers", str(workers)]
        command: list[str | Path] = [program, "serve", *several, config]
        if server:
            command = [sys.executable, "-m", *(part.format(port=port) for part in server)]
        environ = {
            "FAL_PROXY_CONFIG": str(config),
            "FAL_KEY": rig.fal_key,
            "SESSION_SECRET": rig.secret,
            "FAL_PROXY_HANDLE_SECRETS": rig.handle_secret,
            "FAL_PROXY_REDIS_URL": f"redis://127.0.0.1:{rig.store.port}/0",
        }
        if open_jobs:
            fill(config, environ, open_jobs)
        return Server(command, port=port, log=rig.home / f"{name}.log", environ=environ, cores=cores)

    return start


def _ledger(kind: str | None, path: Path, limited: bool, *, joins: bool, several: bool) -> str:
    if kind is not None:
        return LEDGER.format(kind=kind, path=path) + (LIMITS if limited else "")
    if several:
        return SHARED
    return "" if joins else ALONE


def _ledger_rows(title: str, name: str, *, store: str, ledger: str) -> Iterator[Contender]:
    """Yields the rows of one kind of ledger: without limits, and with several numbers of open jobs."""
    shared = store == "redis"
    for suffix, limited, open_jobs in (
        ("", True, 0),
        (", no budgets", False, 0),
        (", 5,000 open jobs", True, 5_000),
        (", 50,000 open jobs", True, 50_000),
    ):
        start = gateway(
            f"{name}-{open_jobs}-{limited}", store=store, ledger=ledger, limited=limited, open_jobs=open_jobs
        )
        yield Contender(f"{title}{suffix}", start, SUBMITS, handles=True, uses_store=shared)


# Several workers must share it, though nothing is counted in it.
SHARED = """
[ledger]
kind = "redis"
"""

# As the last release: a call without budget and limit is not in the ledger.
ALONE = """
[ledger]
rejoin_seconds = 0
"""

LEDGER = """
[ledger]
kind = "{kind}"
path = "{path}"
"""

# Two budgets and two in-flight limits, so wide that nothing is refused.
LIMITS = """
[[budgets]]
name = "daily"
per = "user"
window = "day"
limit = 1000000000

[[budgets]]
name = "all"
per = "global"
window = "24h"
limit = 1000000000

[[in_flight]]
name = "mine"
per = "user"
limit = 1000000

[[in_flight]]
name = "ours"
per = "global"
limit = 1000000
"""


def _node(script: str) -> Callable[[Rig], Server]:
    def start(rig: Rig) -> Server:
        port = free_port()
        environ = {
            **rig.environ,
            "NODE_ENV": "production",
            "NODE_EXTRA_CA_CERTS": str(rig.ca),
            "PORT": str(port),
        }
        command: list[str | Path] = ["node", "--require", CONTENDERS / "loopback.cjs", CONTENDERS / script]
        return Server(command, port=port, log=rig.home / f"{script}.log", environ=environ, cwd=CONTENDERS)

    return start


def _naive(rig: Rig) -> Server:
    port = free_port()
    command = [NAIVE_PYTHON, CONTENDERS / "naive.py"]
    return Server(command, port=port, log=rig.home / "naive.log", environ={**rig.environ, "PORT": str(port)})


def _haproxy(name: str, *, plain: bool = False) -> Callable[[Rig], Server]:
    def start(rig: Rig) -> Server:
        port = free_port()
        tls = f"127.0.0.1:{rig.tls} ssl verify required ca-file {rig.ca} sni str(queue.fal.run)"
        server = f"127.0.0.1:{rig.plain}" if plain else tls
        config = rig.fill("haproxy.cfg", f"{name}.cfg", port=port, server=server)
        return Server(["haproxy", "-db", "-f", config], port=port, log=rig.home / f"{name}.log")

    return start


def _nginx(rig: Rig) -> Server:
    port = free_port()
    config = rig.fill("nginx.conf", "nginx.conf", port=port)
    return Server(["nginx", "-c", config, "-e", rig.home / "nginx.log"], port=port, log=rig.home / "nginx.out")


# Node needs some ten seconds of load before it has compiled what is hot, httpx about half of that. Only the gateway
# remembers tokens; Hono and HAProxy are put to new ones all the same, because that is what is promised about.
ROSTER: tuple[Contender, ...] = (
    Contender("gateway", gateway("gateway"), handles=True),
    Contender(ALONE_NAME, gateway("gateway-alone", joins=False), handles=True),
    Contender("gateway, plain upstream", gateway("gateway-plain", plain=True), PER_USER, handles=True),
    Contender(
        "gateway, limits on Redis", gateway("gateway-redis", store="redis"), PER_USER, handles=True, uses_store=True
    ),
    *_ledger_rows("gateway, ledger in SQLite", "gateway-sqlite", store="memory", ledger="sqlite"),
    *_ledger_rows("gateway, ledger on Redis", "gateway-ledger", store="redis", ledger="redis"),
    Contender("server-proxy, Hono", _node("hono.mjs"), warm_first=10.0, warm=3.0),
    Contender("server-proxy, Express 5", _node("express.mjs"), PER_USER, keeps_status=False, warm_first=10.0, warm=3.0),
    Contender("Starlette + httpx", _naive, PER_USER, limits=False, validates=False, warm_first=5.0, warm=3.0),
    Contender("HAProxy", _haproxy("haproxy"), validates=False),
    Contender("HAProxy, plain upstream", _haproxy("haproxy-plain", plain=True), PER_USER, validates=False),
    Contender("nginx", _nginx, PER_USER, verifies=False, limits=False, validates=False),
)
