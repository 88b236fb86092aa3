"""Reader of the `.env` file beside the configuration, which `fal-proxy init` writes for development."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.errors import ConfigError, Problem

NAME = ".env"
_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<quote>[\"']?)(?P<value>.*)(?P=quote)")


def read_env_file(folder: Path) -> dict[str, str]:
    """Returns the variables of the file in *folder*, none where there is no file.

    A line is `NAME=value`, a comment or empty. A value may be in quotes, has no escapes and ends with its line. Raises
    ConfigError with each other line, without its text.
    """
    path = folder / NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), "cannot be read")]) from error
    matches = [(number, _LINE.fullmatch(line.strip())) for number, line in enumerate(lines, 1) if _has_content(line)]
    if problems := [Problem(f"{path}:{number}", "is not NAME=value") for number, match in matches if match is None]:
        raise ConfigError(problems)
    return {match["name"]: match["value"] for _, match in matches if match is not None}


def _has_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
