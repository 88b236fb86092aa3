"""Failure knobs: which request shall go wrong, and how."""

from __future__ import annotations

import random
from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Fault:
    """One knob.

    *action*: a route's; `model`, where the job itself fails (latency, status and hang only); `*` is all but `model`.
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
        if self.after and self.kind in _CARRIED_OUT_ANYWAY:
            raise ValueError(f"`after` says nothing about {self.kind}: it always carries the request out")


class Knobs:
    """The faults that are set; the first one that fits and strikes is used. One seed, one sequence of strikes."""

    def __init__(self, faults: Sequence[Fault], *, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a coin that must fall the same way each time
        self._left: list[tuple[Fault, int | None]] = []
        self.set(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(fault for fault, _ in self._left)

    def set(self, faults: Sequence[Fault]) -> None:
        self._left = [(fault, fault.count) for fault in faults]

    def draw(self, action: Action) -> Fault | None:
        for place, (fault, left) in enumerate(self._left):
            fits = fault.action == action or (fault.action == ANY and action != MODEL)
            if fits and self._random.random() < fault.probability:
                self._strike(place, fault, left)
                return fault
        return None

    def _strike(self, place: int, fault: Fault, left: int | None) -> None:
        if left == 1:
            del self._left[place]
        elif left is not None:
            self._left[place] = (fault, left - 1)
