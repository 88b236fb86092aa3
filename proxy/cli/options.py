"""Arguments that several commands share. The only reader of the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from proxy.config.loader import Config

DEFAULT_CONFIG = "fal-proxy.toml"
CONFIG_VARIABLE = "FAL_PROXY_CONFIG"

CONFIG = click.argument(
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    default=DEFAULT_CONFIG,
    required=False,
)


def load_config(path: Path, *, log_format: str | None = None, **server: object) -> Config:
    """Reads the file at *path*, with the environment and the `.env` file beside it. Raises ConfigError.

    *server* are keys of the [server] table that win over the file's; those that are None are not given. *log_format*
    is one of the [log] table.
    """
    # Here, so that `init` and `health` start without the libraries that validate a file.
    from proxy.config.env_file import read_env_file
    from proxy.config.loader import load

    given = {key: value for key, value in server.items() if value is not None}
    environ = {**read_env_file(path.parent), **os.environ}
    overrides: dict[str, dict[str, object]] = {"server": given} if given else {}
    if log_format is not None:
        overrides["log"] = {"format": log_format}
    return load(path, environ, overrides)
