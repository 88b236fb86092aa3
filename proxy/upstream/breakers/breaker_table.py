"""Breakers of all calls to fal: one for each kind of call, and so for each origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from proxy.fal_api.operations import Action
from proxy.upstream.breakers.breaker import HANG, UpstreamBreaker, UpstreamBreakerSettings

# Each kind of call goes to one of fal's origins: the first three to the queue's.
KINDS: Mapping[Action, str] = {
    Action.SUBMIT: "submits",
    Action.STATUS: "reads",
    Action.STATUS_STREAM: "reads",
    Action.RESULT: "reads",
    Action.CANCEL: "cancels",
    Action.RUN: "runs",
    Action.RUN_STREAM: "runs",
    Action.UPLOAD: "uploads",
    Action.TOKEN: "tokens",
}
# A model may take minutes for a run, so waiting for one shows nothing.
_NO_HANG = frozenset({"runs"})


class Breakers:
    """Breakers by action. *report* is called with kind, "open" or "closed", and reason at each change."""

    def __init__(self, *, clock: Callable[[], float], report: Callable[[str, str, str], None]) -> None:
        def on_change(breaker: UpstreamBreaker, reason: str) -> None:
            report(breaker.name, "open" if breaker.is_open else "closed", reason)

        self._by_kind = {
            kind: UpstreamBreaker(
                kind,
                UpstreamBreakerSettings(hang=None if kind in _NO_HANG else HANG),
                clock=clock,
                on_change=on_change,
            )
            for kind in dict.fromkeys(KINDS.values())
        }
        self.by_action: Mapping[Action, UpstreamBreaker] = {
            action: self._by_kind[kind] for action, kind in KINDS.items()
        }

    def __iter__(self) -> Iterator[UpstreamBreaker]:
        return iter(self._by_kind.values())

    @property
    def any_open(self) -> bool:
        """True while fal is not called for at least one kind of call."""
        return any(breaker.is_open for breaker in self._by_kind.values())
