"""Faults: which requests fail, how, and how often."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

ANY: Final = "*"
MODEL: Final = "model"
# The actions of the routes, the model's own work, and every route.
Action = Literal[
    "submit",
    "status",
    "status-stream",
    "result",
    "cancel",
    "run",
    "run-stream",
    "upload",
    "put",
    "file",
    "token",
    "jwks",
    "model",
    "*",
]


class Kind(StrEnum):
    """Kinds of faults."""

    LATENCY = "latency"
    STATUS = "status"
    HANG = "hang"
    RESET = "reset"
    TRUNCATE = "truncate"
    GARBAGE = "garbage"
    NOT_JSON = "not-json"
    CONTENT_TYPE = "content-type"
    REDIRECT = "redirect"
    LOCKED = "locked"
    INVALID_KEY = "invalid-key"


_ALWAYS_CARRIED_OUT = frozenset({Kind.LATENCY, Kind.TRUNCATE, Kind.CONTENT_TYPE})
_NEVER_CARRIED_OUT = frozenset({Kind.LOCKED, Kind.INVALID_KEY})
_MODEL_KINDS = frozenset({Kind.LATENCY, Kind.STATUS, Kind.HANG})
# Actions that fal refuses for a locked account.
LOCKED_ACTIONS = frozenset({"submit", "status", "status-stream", "run", "run-stream", "upload"})
# Actions that take a key.
KEY_ACTIONS = LOCKED_ACTIONS | {"result", "cancel", "token"}
_REFUSED_ACTIONS = {Kind.LOCKED: LOCKED_ACTIONS, Kind.INVALID_KEY: KEY_ACTIONS}


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Fault:
    """One configured failure.

    *action*: the route's action; `model` fails the job itself (latency, status, hang); `*` matches every route.
    *count*: how many requests fail, None without end. *probability*: chance of each match, 0 to 1.
    *delay*: seconds before the fault acts.
    *after*: the request is carried out and only its answer is lost, so a submit's job exists.
    *status*, *html*: answer of `status`, as fal's JSON or as the HTML page of a front end.
    *location*: target of `redirect`. *headers*: extra fields on the answers of `status`, `not-json` and `redirect`.
    *key*: the id of a key, before its colon; then only requests with that key fail. A model's work has none.
    A `locked` fault under `*` matches submits, runs, uploads and status reads, an `invalid-key` all that take a key.
    """

    kind: Kind
    action: Action = ANY
    count: int | None = Field(default=None, ge=1)
    probability: float = Field(default=1.0, ge=0.0, le=1.0)
    delay: float = Field(default=0.0, ge=0.0, le=3600.0)
    after: bool = False
    status: int = Field(default=503, ge=400, le=599)
    html: bool = False
    location: str = "http://127.0.0.1:9/elsewhere"
    headers: dict[str, str] = Field(default_factory=dict)
    key: str | None = None

    def __post_init__(self) -> None:
        if self.after and (self.kind in _ALWAYS_CARRIED_OUT | _NEVER_CARRIED_OUT or self.action == MODEL):
            raise ValueError(f"`after` has no meaning for {self.kind} of {self.action}")
        if self.action == MODEL and self.kind not in _MODEL_KINDS:
            raise ValueError(f"a model's work has no fault of kind {self.kind}")
        if self.action not in _REFUSED_ACTIONS.get(self.kind, {self.action}) | {ANY}:
            raise ValueError(f"a fault of kind {self.kind} does not refuse {self.action}")
        if self.key is not None and self.action not in KEY_ACTIONS | {ANY}:
            raise ValueError(f"requests of {self.action} have no key")

    def matches(self, action: Action, key: str) -> bool:
        """Returns True where a request with *action* and *key* is one that this fault can fail."""
        if self.key not in (None, key):
            return False
        if self.action != ANY:
            return self.action == action
        return action in _REFUSED_ACTIONS[self.kind] if self.kind in _REFUSED_ACTIONS else action != MODEL


class FaultSet:
    """Active faults in order. *seed* fixes the sequence of random draws."""

    def __init__(self, faults: Sequence[Fault], *, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - draws must be repeatable, not secret
        self._faults = list(faults)

    @property
    def active(self) -> tuple[Fault, ...]:
        """The active faults, each with the count that is left."""
        return tuple(self._faults)

    def replace(self, faults: Sequence[Fault]) -> None:
        """Replaces all active faults."""
        self._faults = list(faults)

    def draw(self, action: Action, key: str = "") -> Fault | None:
        """Returns the first fault that matches and passes its probability, and counts it down.

        *key* is the id of the request's key.
        """
        for index, fault in enumerate(self._faults):
            if fault.matches(action, key) and self._random.random() < fault.probability:
                self._count_down(index, fault)
                return fault
        return None

    def _count_down(self, index: int, fault: Fault) -> None:
        if fault.count == 1:
            del self._faults[index]
        elif fault.count is not None:
            self._faults[index] = replace(fault, count=fault.count - 1)
