"""Failure knobs: which request shall go wrong, and how."""

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
# What a fault may name: the routes' actions, and the model's own work.
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
    LATENCY = "latency"
    STATUS = "status"
    HANG = "hang"
    RESET = "reset"
    TRUNCATE = "truncate"
    GARBAGE = "garbage"
    NOT_JSON = "not-json"
    CONTENT_TYPE = "content-type"
    REDIRECT = "redirect"


_CARRIED_OUT_ANYWAY = frozenset({Kind.LATENCY, Kind.TRUNCATE, Kind.CONTENT_TYPE})
_OF_A_MODEL = frozenset({Kind.LATENCY, Kind.STATUS, Kind.HANG})


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Fault:
    """One knob.

    *action*: a route's; `model`, where the job itself fails (latency, status, hang); `*`, every one but `model`;
    *count*: how often it strikes, None for ever; *probability* of each strike; *delay* before it acts, in seconds;
    *after*: the request is carried out first and only its answer is lost (a submit's job exists);
    *status*, *html*: the answer of `status`, in fal's JSON or as a front end's HTML page; *location* of `redirect`;
    *headers*: more of them on the answer of `status`, `not-json` and `redirect`.
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

    def __post_init__(self) -> None:
        if self.after and (self.kind in _CARRIED_OUT_ANYWAY or self.action == MODEL):
            raise ValueError(f"`after` says nothing about {self.kind} of {self.action}")
        if self.action == MODEL and self.kind not in _OF_A_MODEL:
            raise ValueError(f"a model's work knows no {self.kind}")


class Knobs:
    """The faults that are set; the first one that fits and strikes is used. One seed, one sequence of strikes."""

    def __init__(self, faults: Sequence[Fault], *, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a coin that must fall the same way each time
        self._faults = list(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Each with the count it has left."""
        return tuple(self._faults)

    def set(self, faults: Sequence[Fault]) -> None:
        self._faults = list(faults)

    def draw(self, action: Action) -> Fault | None:
        for place, fault in enumerate(self._faults):
            fits = fault.action == action or (fault.action == ANY and action != MODEL)
            if fits and self._random.random() < fault.probability:
                self._use_up(place, fault)
                return fault
        return None

    def _use_up(self, place: int, fault: Fault) -> None:
        if fault.count == 1:
            del self._faults[place]
        elif fault.count is not None:
            self._faults[place] = replace(fault, count=fault.count - 1)
