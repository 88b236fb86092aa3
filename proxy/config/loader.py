"""Reads the configuration: one TOML file, secrets from the environment, every problem found in one pass.

Checks that need files or keys are made while the components are built (proxy/app/setup), into the same list.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import get_args, get_origin

from pydantic import Field, SkipValidation, ValidationError
from pydantic_core import ErrorDetails

from proxy.config.document import Document
from proxy.config.sections.server import Server
from proxy.config.value_types import Section
from proxy.errors import ConfigError, Problem
from proxy.fal_api.operations import Action

# A required section in error is replaced by this, so that the rest can still be checked.
_FALLBACKS: Mapping[str, Section] = {"server": Server(public_origin="http://127.0.0.1")}


class Config(Document):
    """A configuration as read, with the problems found so far. Nothing may start while *problems* is not empty.

    A section in error has its default value, and an item in error is left out, so that the rest can still be checked.
    *base* is the folder that relative paths are relative to.
    """

    environ: SkipValidation[Mapping[str, str]] = Field(repr=False)
    base: Path
    problems: SkipValidation[tuple[Problem, ...]]

    @property
    def longest_call(self) -> tuple[str, float]:
        """The key and the seconds of the longest call that costs money; a run counts where an endpoint allows it."""
        calls = {"fal.submit_seconds": self.fal.submit_seconds}
        if any(Action.RUN in e.actions or Action.RUN_STREAM in e.actions for e in self.endpoints):
            calls["fal.run_seconds"] = self.fal.run_seconds
        return max(calls.items(), key=lambda call: call[1])


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Reads the file at *path*. Raises ConfigError where it cannot be read as TOML at all."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([Problem(str(path), str(error))]) from error
    return read(document, environ, base=path.parent)


def read(document: Mapping[str, object], environ: Mapping[str, str], *, base: Path) -> Config:
    """Validates a parsed file. Never raises: problems are in the result, each with its key."""
    problems = [Problem(key, "unknown section") for key in document if key not in Document.model_fields]
    sections: dict[str, object] = {}
    for name, field in Document.model_fields.items():
        model, repeated = section_model(name)
        if name not in document and not field.is_required():
            continue
        value = document.get(name, {})
        sections[name] = _items(name, model, value, problems) if repeated else _section(name, model, value, problems)
        if sections[name] is None:
            sections[name] = _FALLBACKS.get(name, field.default)
    return Config.model_validate({**sections, "environ": environ, "base": base, "problems": tuple(problems)})


def section_model(name: str) -> tuple[type[Section], bool]:
    """Returns the class of the section *name*, and True where the file may hold several tables of it."""
    annotation = Document.model_fields[name].annotation
    models = [
        kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, Section)
    ]
    return models[0], get_origin(annotation) is tuple


def secret(config: Config, name: str) -> str:
    """Returns the secret in the environment variable *name*, or in the file that `<name>_FILE` names.

    Raises ValueError, without the value, where there is none or both are set.
    """
    value, file = config.environ.get(name), config.environ.get(f"{name}_FILE")
    if value is not None and file is not None:
        raise ValueError(f"both {name} and {name}_FILE are set")
    if file is not None:
        try:
            value = (config.base / file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the file that {name}_FILE names cannot be read") from error
    if not value:
        raise ValueError(f"the environment has no {name} (nor {name}_FILE)")
    return value


def _items(name: str, model: type[Section], value: object, problems: list[Problem]) -> tuple[Section, ...]:
    if not isinstance(value, list):
        problems.append(Problem(name, f"write it as [[{name}]], once for each"))
        return ()
    items = [_section(f"{name}[{index}]", model, item, problems) for index, item in enumerate(value)]
    return tuple(item for item in items if item is not None)


def _section(location: str, model: type[Section], value: object, problems: list[Problem]) -> Section | None:
    try:
        return model.read(value, location=location)
    except ValidationError as error:
        problems.extend(_problem(location, detail) for detail in error.errors())
        return None


def _problem(key: str, detail: ErrorDetails) -> Problem:
    for step in detail["loc"]:
        key += f"[{step}]" if isinstance(step, int) else f".{step}"
    message = "unknown key" if detail["type"] == "extra_forbidden" else detail["msg"].removeprefix("Value error, ")
    return Problem(key, message)
