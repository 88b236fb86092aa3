"""Trace of one request: the gateway's steps in order, for the caller who sent it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, Literal

Step = Literal["authenticate", "resolve", "authorize", "admit", "reserve", "relay", "settle"]

MAX_NOTE = 120  # characters
MAX_NAMES = 20  # fields in a list
# Refusals that belong to another step than the one they were found in.
_STEP_OF_ERROR: Final[Mapping[str, Step]] = {"service_paused": "relay"}


class RequestTrace:
    """Steps that a request passed, each with its time, and facts about its payload and price.

    A step ends where the next one begins. *clock* returns seconds. A trace holds names, identifiers and amounts, never
    a value of the payload, a token or a key.
    """

    __slots__ = ("_clock", "_facts", "_refused", "_steps")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._steps: list[tuple[Step, float, str]] = []
        self._facts: dict[str, object] = {}
        self._refused = False

    def enter(self, step: Step, note: str = "") -> None:
        """Begins *step*. *note* says what is special about it."""
        self._steps.append((step, self._clock(), note[:MAX_NOTE]))

    def note(self, text: str) -> None:
        """Sets the note of the current step."""
        if self._steps:
            step, started, _ = self._steps[-1]
            self._steps[-1] = (step, started, text[:MAX_NOTE])

    def record_payload(self, received: Mapping[str, object], sent: Mapping[str, object]) -> None:
        """Records the names of the fields that the operator's policy set and dropped."""
        forced = [name for name, value in sent.items() if name not in received or received[name] != value]
        dropped = [name for name in received if name not in sent]
        for fact, names in (("forced", forced), ("dropped", dropped)):
            if names:
                self._facts[fact] = sorted(names)[:MAX_NAMES]

    def record_reserved(self, amount: float) -> None:
        """Records the price that was reserved, in the operator's units."""
        self._facts["reserved"] = amount

    def record_refusal(self, error_type: str) -> None:
        """Records that the current step, or the one that *error_type* belongs to, refused the request."""
        self._refused = True
        step = _STEP_OF_ERROR.get(error_type)
        if step is not None and self._steps and self._steps[-1][0] != step:
            self.enter(step)

    def dump(self) -> bytes | None:
        """Returns the trace as ASCII JSON for a header field, None for a request without steps."""
        if not self._steps:
            return None
        ends = [started for _, started, _ in self._steps[1:]] + [self._clock()]
        last = len(self._steps) - 1
        steps = [
            {
                "name": step,
                "ok": not (self._refused and place == last),
                "ms": round(1000 * (end - started), 2),
                **({"note": note} if note else {}),
            }
            for place, ((step, started, note), end) in enumerate(zip(self._steps, ends, strict=True))
        ]
        return json.dumps({"steps": steps, **self._facts}, separators=(",", ":")).encode("ascii")
