"""Names of running jobs, so that a ledger hears of each one once. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_NAMES = 10_000
MAX_AGE = 600.0  # seconds


class RunningJobs:
    """Jobs that the ledger knows to run. *clock* in seconds.

    A name is dropped at the end of its job, and after MAX_AGE, since another worker may see that end.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: OrderedDict[str, float] = OrderedDict()

    def add(self, name: str) -> bool:
        """Returns whether *name* is new here."""
        if name in self._since:
            return False
        now = self._clock()
        self._drop(now - MAX_AGE)
        self._since[name] = now
        return True

    def discard(self, name: str) -> None:
        """Drops *name*, if it is here."""
        self._since.pop(name, None)

    def __len__(self) -> int:
        return len(self._since)

    def _drop(self, before: float) -> None:
        names = self._since
        while names and (len(names) >= MAX_NAMES or names[next(iter(names))] < before):
            names.popitem(last=False)
