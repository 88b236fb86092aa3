"""Result of the last reload of the configuration, which the first process leaves for its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

_NAME = "reload.json"


class ReloadStatus(BaseModel):
    """State of the configuration: *generation* counts those that were applied, the first one included.

    *refusals* counts reloads that changed nothing. *result* is that of the last reload, *at* its time in unix seconds.
    *reason* is why it was refused.
    """

    model_config = ConfigDict(frozen=True)

    generation: int = 1
    refusals: int = 0
    result: Literal["none", "applied", "refused"] = "none"
    at: float | None = None
    reason: str | None = None

    def applied(self, at: float) -> ReloadStatus:
        """Returns the status after a reload that was applied."""
        return self._next(generation=self.generation + 1, result="applied", at=at, reason=None)

    def refused(self, at: float, reason: str) -> ReloadStatus:
        """Returns the status after a reload that changed nothing."""
        return self._next(refusals=self.refusals + 1, result="refused", at=at, reason=reason)

    def _next(self, **changes: object) -> ReloadStatus:
        return self.model_copy(update=changes)


def write_status(folder: str, status: ReloadStatus) -> None:
    """Leaves *status* in *folder*, in one step."""
    file = Path(folder) / _NAME
    file.with_suffix(".tmp").write_text(status.model_dump_json(), encoding="utf-8")
    file.with_suffix(".tmp").rename(file)


def read_status(folder: str) -> ReloadStatus:
    """Returns the status in *folder*, that of a start where there is none."""
    file = Path(folder) / _NAME
    return ReloadStatus.model_validate_json(file.read_bytes()) if file.exists() else ReloadStatus()
