"""The configuration: one TOML file, secrets from the environment, every problem found in one pass.

What takes files or keys is checked while the parts are made (`parts`), into the same list of problems.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config.document import (
    DEFAULT_LIMITS,
    Admin,
    BudgetSection,
    CookieSection,
    Document,
    Endpoint,
    Fal,
    HandleSecrets,
    InFlightSection,
    LedgerSection,
    Limit,
    Playground,
    Server,
    Session,
    Store,
    StreamsSection,
)
from proxy.config.files import RealtimeSection, UploadsSection
from proxy.config.section import Section
from proxy.config.webhooks import WebhooksSection
from proxy.errors import ConfigError, Problem
from proxy.fal_api.operations import Action

_ModelT = TypeVar("_ModelT", bound=Section)


@dataclass(frozen=True)
class Config:
    """What was read, with what was wrong with it. Sections in error are at their defaults, so that the rest can
    still be checked; nothing may start while *problems* is not empty (`parts.vet` sees to that).

    Sections that stand several times carry their index in the file. *base* is what relative paths are relative to.
    """

    server: Server
    admin: Admin
    fal: Fal
    streams: StreamsSection
    store: Store
    handles: HandleSecrets
    sessions: tuple[tuple[int, Session], ...]
    cookie: CookieSection | None
    endpoints: tuple[tuple[int, Endpoint], ...]
    uploads: UploadsSection | None
    realtime: RealtimeSection | None
    limits: tuple[tuple[int, Limit], ...]
    ledger: LedgerSection
    budgets: tuple[tuple[int, BudgetSection], ...]
    in_flight: tuple[tuple[int, InFlightSection], ...]
    webhooks: WebhooksSection
    playground: Playground
    environ: Mapping[str, str] = field(repr=False)
    base: Path
    problems: tuple[Problem, ...]

    @property
    def longest_call(self) -> tuple[str, float]:
        """The key and the seconds of what a call that money hangs on may take; runs count only where there are any."""
        calls = {"fal.submit_seconds": self.fal.submit_seconds}
        if any(Action.RUN in e.actions or Action.RUN_STREAM in e.actions for _, e in self.endpoints):
            calls["fal.run_seconds"] = self.fal.run_seconds
        return max(calls.items(), key=lambda call: call[1])


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Raises ConfigError where the file cannot be read as TOML at all."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([Problem(str(path), str(error))]) from error
    return read(document, environ, base=path.parent)


def read(document: Mapping[str, object], environ: Mapping[str, str], *, base: Path) -> Config:
    """Never raises: what is wrong is in `problems` of the answer, each with the key it is at."""
    problems = [Problem(key, "unknown section") for key in document if key not in Document.model_fields]
    placeholder = Server(public_origin="http://127.0.0.1")

    def table(name: str, model: type[_ModelT], fallback: _ModelT) -> _ModelT:
        return _validated(name, model, document.get(name, {}), problems) or fallback

    def optional(name: str, model: type[_ModelT]) -> _ModelT | None:
        return _validated(name, model, document[name], problems) if name in document else None

    def tables(name: str, model: type[_ModelT]) -> tuple[tuple[int, _ModelT], ...]:
        items = document.get(name, [])
        if not isinstance(items, list):
            problems.append(Problem(name, f"write it as [[{name}]], once for each"))
            return ()
        read_items = [(i, _validated(f"{name}[{i}]", model, item, problems)) for i, item in enumerate(items)]
        return tuple((i, item) for i, item in read_items if item is not None)

    return Config(
        server=table("server", Server, placeholder),
        admin=table("admin", Admin, Admin()),
        fal=table("fal", Fal, Fal()),
        streams=table("streams", StreamsSection, StreamsSection()),
        store=table("store", Store, Store()),
        handles=table("handles", HandleSecrets, HandleSecrets()),
        sessions=tables("sessions", Session),
        cookie=_validated("cookie", CookieSection, document["cookie"], problems) if "cookie" in document else None,
        endpoints=tables("endpoints", Endpoint),
        uploads=optional("uploads", UploadsSection),
        realtime=optional("realtime", RealtimeSection),
        limits=tables("limits", Limit) if "limits" in document else tuple(enumerate(DEFAULT_LIMITS)),
        ledger=table("ledger", LedgerSection, LedgerSection()),
        budgets=tables("budgets", BudgetSection),
        in_flight=tables("in_flight", InFlightSection),
        webhooks=table("webhooks", WebhooksSection, WebhooksSection()),
        playground=table("playground", Playground, Playground()),
        environ=environ,
        base=base,
        problems=tuple(problems),
    )


def secret(config: Config, name: str) -> str:
    """The secret in the environment variable *name*, or in the file that `<name>_FILE` names.

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


def _validated(key: str, model: type[_ModelT], value: object, problems: list[Problem]) -> _ModelT | None:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems.extend(_problem(key, detail) for detail in error.errors())
        return None


def _problem(key: str, detail: ErrorDetails) -> Problem:
    for step in detail["loc"]:
        key += f"[{step}]" if isinstance(step, int) else f".{step}"
    message = "unknown key" if detail["type"] == "extra_forbidden" else detail["msg"].removeprefix("Value error, ")
    return Problem(key, message)
