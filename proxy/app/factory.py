"""Public entry points: the gateway as an ASGI application, and its metrics as another one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette

from proxy.app.application import Application
from proxy.app.setup.components import build_components
from proxy.config.env_file import read_env_file
from proxy.config.loader import Config, load
from proxy.errors import ConfigError, Problem
from proxy.telemetry.json_log import JsonLogWriter

# Variables by which servers and platforms set a number of processes.
_PROCESS_VARIABLES = ("WEB_CONCURRENCY", "UVICORN_WORKERS", "GRANIAN_WORKERS")
_STDOUT = 1  # the journal goes to the descriptor, past the buffer of sys.stdout


def create_app(config: Config | Path | None = None) -> Starlette:
    """Builds the gateway as an ASGI application, for a server or for a mount in another application.

    *config* is a configuration or its file; without it the file is $FAL_PROXY_CONFIG, else ./fal-proxy.toml. A host
    that runs no lifespan of what it mounts needs nothing more: the first request starts the gateway.
    Raises ConfigError.
    """
    if not isinstance(config, Config):
        path = config or Path(os.environ.get("FAL_PROXY_CONFIG", "fal-proxy.toml"))
        config = load(path, {**read_env_file(path.parent), **os.environ})
    check_shared_stores(config, _processes(config.environ))
    components = build_components(config)
    log = JsonLogWriter(_STDOUT, secrets=components.fal_secrets, text=config.log.format == "text")
    application = Application(components, log)
    application.public.state.metrics = application.metrics
    return application.public


def create_metrics_app(app: Starlette) -> Starlette:
    """Returns the metrics of an application of `create_app`, to be mounted for operators only.

    Serves `/metrics` in the Prometheus text format, of this process alone.
    """
    metrics: Starlette = app.state.metrics
    return metrics


def check_shared_stores(config: Config, processes: int) -> None:
    """Raises ConfigError where several processes would each keep their own counts."""
    if processes > 1:
        kinds = (("store", config.store.kind), ("ledger", config.ledger.kind))
        problems = [
            Problem(f"{name}.kind", "several workers must share it: redis") for name, kind in kinds if kind != "redis"
        ]
        if problems:
            raise ConfigError(problems)


def _processes(environ: Mapping[str, str]) -> int:
    numbers = [environ.get(name, "") for name in _PROCESS_VARIABLES]
    return max((int(number) for number in numbers if number.isdecimal()), default=1)
