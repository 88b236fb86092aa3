"""State of our account at fal: paused for a key or for single endpoints while fal refuses them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from proxy.errors import ServicePaused
from proxy.upstream.account.refusal import AccountRefusal

PAUSE = 20.0  # seconds between two probes
KEY = ""  # scope of a pause that concerns everything sent with our key


class Scoped(Protocol):
    """Target of a call: an endpoint of an app."""

    @property
    def endpoint(self) -> str: ...

    @property
    def app(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause: *scope* is KEY or an endpoint, *app* the app whose status a probe reads."""

    scope: str
    cause: str
    app: str


class Account:
    """Pauses in this process.

    *report* is called at each change, with the state ("paused" or "resumed"), the pause and fal's words. *on_pause* is
    called when a pause begins, to start the probe.
    """

    def __init__(self, *, report: Callable[[str, Pause, str], None]) -> None:
        self.is_paused = False  # for anything: `check` decides about one call
        self._pauses: dict[str, Pause] = {}
        self._report = report
        self.on_pause: Callable[[Pause], None] = lambda pause: None

    @property
    def pauses(self) -> Collection[Pause]:
        return tuple(self._pauses.values())

    @property
    def key_cause(self) -> str | None:
        """Cause of the pause of our key, None while fal accepts it."""
        pause = self._pauses.get(KEY)
        return None if pause is None else pause.cause

    def check(self, target: Scoped) -> None:
        """Raises ServicePaused for a call that fal would refuse."""
        if not self._pauses.keys().isdisjoint((KEY, target.endpoint, target.app)):
            raise ServicePaused(retry_after=int(PAUSE), reason="paused: fal refuses our account")

    def refused(self, error: ServicePaused, target: Scoped) -> None:
        """Begins the pause that a refusal by fal causes."""
        if error.cause is None:
            return
        scope = target.endpoint if error.cause == AccountRefusal.ENDPOINT else KEY
        if scope in self._pauses:
            return
        pause = Pause(scope, error.cause, target.app)
        self._pauses[scope] = pause
        self.is_paused = True
        self._report("paused", pause, error.evidence)
        self.on_pause(pause)

    def resume(self, pause: Pause, reason: str) -> None:
        """Ends a pause: fal accepts what it refused."""
        if self._pauses.pop(pause.scope, None) is not None:
            self.is_paused = bool(self._pauses)
            self._report("resumed", pause, reason)
