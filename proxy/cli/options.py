"""Arguments that several commands share. The only reader of the environment."""

from __future__ import annotations

import os
from pathlib import Path

import click

from proxy.config.loader import Config, load

DEFAULT_CONFIG = "fal-proxy.toml"
CONFIG_VARIABLE = "FAL_PROXY_CONFIG"

CONFIG = click.argument(
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    default=DEFAULT_CONFIG,
    required=False,
)


def load_config(path: Path, **server: object) -> Config:
    """Reads the file at *path* with this process's environment. Raises ConfigError where it is not TOML.

    *server* are keys of the [server] table that win over the file's; those that are None are not given.
    """
    given = {key: value for key, value in server.items() if value is not None}
    return load(path, os.environ, {"server": given} if given else {})
