"""Arguments that several commands share, and the one place that reads the file and the environment for them."""

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


def load_config(path: Path) -> Config:
    """Reads the file at *path* with this process's environment. Raises ConfigError where it is not TOML."""
    return load(path, os.environ)
