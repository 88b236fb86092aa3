"""State of our keys at fal: each paused, whole or for single endpoints, while fal refuses it. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.errors import ServicePaused
from proxy.upstream.account.fal_key import FalKey, turns
from proxy.upstream.account.refusal import AccountRefusal

PAUSE = 20.0  # seconds between two probes
KEY = ""  # scope of a pause that concerns everything sent with a key


class Scoped(Protocol):
    """Target of a call: an endpoint of an app."""

    @property
    def endpoint(self) -> str: ...

    @property
    def app(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause of one key.

    *scope* is KEY or an endpoint, *app* the app whose status a probe reads, *alias* the key's.
    """

    scope: str
    cause: str
    app: str
    alias: str = ""


class Account:
    """Choice of a key for each new call, and the pauses in this process.

    *report* is called at each change, with the state ("paused" or "resumed"), the pause and fal's words. *on_pause* is
    called when a pause begins, to start the probe; *on_refusal* only where fal refused a call of this process.
    *retry_after* is sent with each refusal: the seconds between two probes.
    """

    def __init__(
        self, keys: Sequence[FalKey], *, report: Callable[[str, Pause, str], None], probe_interval: float = PAUSE
    ) -> None:
        self.retry_after = math.ceil(probe_interval)
        self.is_paused = False  # for anything: `check` decides about one call
        self.keys: Mapping[str, FalKey] = {key.alias: key for key in keys}
        self.calls: Counter[str] = Counter()  # new calls, by alias
        self._turns = turns(keys)
        self._turn = -1
        self._pauses: dict[tuple[str, str], Pause] = {}  # by alias and scope
        self._report = report
        self.on_pause: Callable[[Pause], None] = lambda pause: None
        self.on_refusal: Callable[[Pause], None] = lambda pause: None
        self.on_resume: Callable[[Pause], None] = lambda pause: None

    @property
    def pauses(self) -> Collection[Pause]:
        return tuple(self._pauses.values())

    @property
    def key_causes(self) -> Mapping[str, str]:
        """Causes of the pauses of whole keys, by alias."""
        return {pause.alias: pause.cause for pause in self._pauses.values() if pause.scope == KEY}

    @property
    def key_cause(self) -> str | None:
        """Cause for which new calls are refused, None while fal accepts one of the keys for them."""
        causes = self.key_causes
        aliases = dict.fromkeys(self._turns)
        return causes[next(iter(aliases))] if aliases.keys() <= causes.keys() else None

    def choose(self, target: Scoped) -> str:
        """Returns the alias of the key for a new call, by weight over the keys that work.

        Raises ServicePaused where none does.
        """
        for _ in self._turns:
            self._turn = (self._turn + 1) % len(self._turns)
            alias = self._turns[self._turn]
            if not self.is_paused or self.accepts(alias, target):
                self.calls[alias] += 1
                return alias
        raise self._paused()

    def check(self, target: Scoped) -> None:
        """Raises ServicePaused for a new call that fal would refuse with every key."""
        if not self.works(target):
            raise self._paused()

    def works(self, target: Scoped) -> bool:
        """Returns whether a key for new calls works for *target*."""
        return any(self.accepts(alias, target) for alias in dict.fromkeys(self._turns))

    def check_key(self, alias: str, target: Scoped) -> None:
        """Raises ServicePaused for a call that fal would refuse with this key."""
        if not self.accepts(alias, target):
            raise self._paused()

    def accepts(self, alias: str, target: Scoped) -> bool:
        """Returns whether no pause of the key concerns *target*."""
        return not any((alias, scope) in self._pauses for scope in (KEY, target.endpoint, target.app))

    def refused(self, error: ServicePaused, target: Scoped, alias: str = "") -> None:
        """Begins the pause that a refusal by fal causes."""
        if error.cause is None:
            return
        scope = target.endpoint if error.cause == AccountRefusal.ENDPOINT else KEY
        pause = Pause(scope, error.cause, target.app, alias)
        if self.pause(pause, error.evidence):
            self.on_refusal(pause)

    def pause(self, pause: Pause, reason: str) -> bool:
        """Begins *pause*. Returns False where the key has one of that scope."""
        if (pause.alias, pause.scope) in self._pauses:
            return False
        self._pauses[pause.alias, pause.scope] = pause
        self.is_paused = True
        self._report("paused", pause, reason)
        self.on_pause(pause)
        return True

    def resume(self, pause: Pause, reason: str) -> None:
        """Ends a pause: fal accepts what it refused."""
        if self._pauses.pop((pause.alias, pause.scope), None) is not None:
            self.is_paused = bool(self._pauses)
            self._report("resumed", pause, reason)
            self.on_resume(pause)

    def _paused(self) -> ServicePaused:
        return ServicePaused(retry_after=self.retry_after, reason="paused: fal refuses our account")
