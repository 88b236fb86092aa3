"""Loader of the configuration: one TOML file, secrets from the environment, all problems in one pass.

Checks that need files or keys are made while the components are built (proxy/app/setup), into the same list.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_origin

from pydantic import Field, SkipValidation, ValidationError
from pydantic_core import ErrorDetails

from proxy.config.document import Document
from proxy.config.error_messages import to_problem
from proxy.config.interpolation import interpolate
from proxy.config.renamed_keys import rename
from proxy.config.sections.server import Server
from proxy.config.value_types import EnvironmentText, Section, section_class
from proxy.errors import ConfigError, Problem
from proxy.fal_api.operations import Action
from proxy.near_names import did_you_mean, near_name

# A required section in error is replaced by this, so that the rest can still be checked.
_FALLBACKS: Mapping[str, Section] = {"server": Server(public_origin="http://127.0.0.1")}
_HINT = "; give CONFIG or set FAL_PROXY_CONFIG, or write a file with `fal-proxy init`"
_WORD = re.compile(r"\w+")
_NO_OVERRIDES: Mapping[str, Mapping[str, object]] = {}


class Config(Document):
    """A configuration as read, with the problems found so far.

    Nothing may start while *problems* is not empty.

    A table in error has its default value, and an item in error is left out, so that the rest can still be checked.
    *incomplete* names the sections whose items were left out. *base* is the folder that relative paths are relative to.
    """

    environ: SkipValidation[Mapping[str, str]] = Field(repr=False)
    base: Path
    problems: SkipValidation[tuple[Problem, ...]]
    warnings: SkipValidation[tuple[Problem, ...]] = ()
    incomplete: frozenset[str] = frozenset()

    @property
    def longest_call(self) -> tuple[str, float]:
        """The key and the seconds of the longest call that costs money.

        A run counts where an endpoint allows it.
        """
        calls = {"fal.submit_seconds": self.fal.submit_seconds}
        if any(Action.RUN in e.actions or Action.RUN_STREAM in e.actions for e in self.endpoints):
            calls["fal.run_seconds"] = self.fal.run_seconds
        return max(calls.items(), key=lambda call: call[1])

    def is_consequence(self, problem: Problem) -> bool:
        """Returns True where *problem* follows from a key of its table that has another problem."""
        words = set(_WORD.findall(f"{problem.key} {problem.message}"))
        sections = (getattr(self, name) for name in Document.model_fields)
        tables = (table for section in sections for table in (section if isinstance(section, tuple) else (section,)))
        return any(
            table.doubtful & words and problem.key.startswith(table.location) for table in tables if table is not None
        )


def load(
    path: Path, environ: Mapping[str, str], overrides: Mapping[str, Mapping[str, object]] = _NO_OVERRIDES
) -> Config:
    """Reads the file at *path*. Raises ConfigError where it cannot be read as TOML at all.

    *overrides* are keys by section that win over the file's, such as options of the command line.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Problem(str(path), f"{(error.strerror or str(error)).lower()}{_HINT}")]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([Problem(str(path), f"is not TOML: {error}")]) from error
    for section, keys in overrides.items():
        document[section] = {**document.get(section, {}), **keys}
    return read(document, environ, base=path.parent)


def read(document: Mapping[str, object], environ: Mapping[str, str], *, base: Path) -> Config:
    """Validates a parsed file. Never raises: problems are in the result, each with its key."""
    return _Reader(environ).read(document, base)


class _Reader:
    """Validates one file section by section, and collects the problems."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._incomplete: set[str] = set()

    def read(self, document: Mapping[str, object], base: Path) -> Config:
        """Reads each section that Document lists."""
        for key in document:
            if key not in Document.model_fields:
                self._problems.append(Problem(key, f"unknown section{did_you_mean(key, Document.model_fields)}"))
        sections = {
            name: self._read_section(name, document.get(name, {}))
            for name, field in Document.model_fields.items()
            if name in document or field.is_required()
        }
        sections["environ"], sections["base"] = self._environ, base
        sections["problems"], sections["warnings"] = tuple(self._problems), tuple(self._warnings)
        sections["incomplete"] = frozenset(self._incomplete)
        return Config.model_validate(sections)

    def _read_section(self, name: str, value: object) -> object:
        field = Document.model_fields[name]
        model = section_class(field.annotation) or Section
        if get_origin(field.annotation) is tuple:
            return self._read_items(name, model, value)
        if name == "server" and isinstance(value, dict):
            value = self._with_port(value)
        return self._read_table(name, model, value, name) or _FALLBACKS.get(name, field.default)

    def _read_items(self, name: str, model: type[Section], value: object) -> tuple[Section, ...]:
        if not isinstance(value, list):
            self._problems.append(Problem(name, f"write it as [[{name}]], once for each"))
            self._incomplete.add(name)
            return ()
        items = [self._read_table(name, model, item, f"{name}[{index}]") for index, item in enumerate(value)]
        return tuple(item for item in items if item is not None)

    def _read_table(self, name: str, model: type[Section], value: object, location: str) -> Section | None:
        known = len(self._problems)
        value = interpolate(value, self._environ, location, self._problems)
        if isinstance(value, dict):
            value = rename(name, value, location, problems=self._problems, warnings=self._warnings)
        try:
            return model.read(value, location=location)
        except ValidationError as error:
            details = error.errors()
        # A value that could not be made from the environment is no missing one.
        unresolved = {problem.key for problem in self._problems[known:]}
        # An empty list because of its bad items is no further problem.
        inner = {detail["loc"][:-1] for detail in details}
        details = [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in inner]
        problems = [to_problem(location, model, detail) for detail in details]
        self._problems.extend(problem for problem in problems if problem.key not in unresolved)
        partial = _read_partly(model, value, details, location)
        if partial is None:
            self._incomplete.add(name)
        return partial

    def _with_port(self, table: Mapping[str, object]) -> Mapping[str, object]:
        """Adds the port that hosting platforms give in the environment, where the file has none."""
        port = self._environ.get("PORT")
        return table if port is None or "port" in table else {**table, "port": EnvironmentText(port)}


def _read_partly(model: type[Section], value: object, details: Sequence[ErrorDetails], location: str) -> Section | None:
    """Reads a table without its keys in error.

    A misspelt key is read under the name that is near. Returns None where that fails.
    """
    if not isinstance(value, dict):
        return None
    rest, doubtful = dict(value), {str(detail["loc"][0]) for detail in details if detail["loc"]}
    for key in doubtful & rest.keys():
        wrong = rest.pop(key)
        near = None if key in model.model_fields else near_name(key, model.model_fields)
        if near is not None:
            rest.setdefault(near, wrong)
            doubtful.add(near)
    try:
        return model.read(rest, location=location, doubtful=frozenset(doubtful))
    except ValidationError:
        return None


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
        raise ValueError(f"the environment has no {name} (nor {name}_FILE){did_you_mean(name, config.environ)}")
    return value
