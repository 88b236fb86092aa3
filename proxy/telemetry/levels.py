"""Levels of journal lines: of events by their name, of requests by their answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Level = Literal["info", "warning", "error"]

LEVELS: Final[Mapping[object, Level]] = {
    "budget_threshold": "warning",
    "clock_step": "warning",
    "fal_keys": "warning",
    "killed": "error",
    "ledger": "warning",
    "ledger_refused": "error",
    "overload": "warning",
    "rejections": "warning",
    "reload_failed": "error",
    "revocations": "warning",
    "session_keys": "warning",
    "upstream_account": "warning",
    "upstream_breaker": "warning",
    "warning": "warning",
    "worker_ended": "warning",
}  # all others are of level "info"


def level_of_event(name: object) -> Level:
    return LEVELS.get(name, "info")


def level_of_answer(status: int, error_type: str | None) -> Level:
    """Returns the level of a request: a defect is an error, another failure of ours or of fal's a warning."""
    if error_type == "internal_error":
        return "error"
    return "info" if status < 500 else "warning"
