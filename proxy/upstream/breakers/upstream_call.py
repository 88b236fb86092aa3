"""One call to fal under its breaker: how its end counts, and which refusal its error becomes."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from proxy.auth.authorization import Grant
from proxy.errors import (
    ConnectFailed,
    DeadlineExceeded,
    OutcomeUnknown,
    PoolExhausted,
    Refusal,
    ServicePaused,
    TransportError,
    Unavailable,
    UpstreamFailed,
)
from proxy.fal_api.operations import Action
from proxy.upstream.account.state import Account
from proxy.upstream.breakers.breaker import Call, CallEnd
from proxy.upstream.breakers.breaker_table import Breakers
from proxy.upstream.classifier import UnmarkedFailure

_RUNS = frozenset({Action.RUN, Action.RUN_STREAM})
_PAUSED = _RUNS | {Action.SUBMIT, Action.UPLOAD, Action.TOKEN}


class UpstreamCall(Call):
    """Block around the exchange with fal and the classification of its answer.

    Entering raises NotSent while the breaker is open, and ServicePaused for a paid call while fal refuses its key.
    A TransportError leaves the block as *refusal_for* it.
    """

    __slots__ = ("_account", "_breaker", "_grant", "_refusal_for")

    def __init__(
        self, grant: Grant, breakers: Breakers, account: Account, refusal_for: Callable[[TransportError], Refusal]
    ) -> None:
        self.caller = grant.caller.key
        self.started = 0.0
        self._grant = grant
        self._breaker = breakers.by_action[grant.target.action]
        self._account = account
        self._refusal_for = refusal_for

    def __enter__(self) -> None:
        # Again right before the call: a refusal may have arrived since its request was admitted.
        if self._account.is_paused and self._grant.target.action in _PAUSED:
            self._account.check_key(self._grant.key_alias, self._grant.target)
        self._breaker.begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._breaker.end(self, CallEnd.ANSWERED)
            return
        self._breaker.end(self, self._end(error))
        if isinstance(error, ServicePaused):
            self._refuse(error)
        if isinstance(error, TransportError):
            raise self._refusal_for(error) from error

    def _refuse(self, refusal: ServicePaused) -> None:
        """Raises Unavailable for a new call where another key works.

        No other key sends it, because bytes of it were sent.
        """
        target = self._grant.target
        self._account.refused(refusal, target, self._grant.key_alias)
        if target.action in _PAUSED and self._account.works(target):
            raise Unavailable(reason=refusal.reason) from refusal

    def _end(self, error: BaseException) -> CallEnd:
        """Returns how *error* counts. A slow or failed run and a failed job are the model's, and do not count."""
        is_run = self._grant.target.action in _RUNS
        match error:
            case ConnectFailed():
                return CallEnd.NOT_CONNECTED
            case PoolExhausted() | UnmarkedFailure():
                return CallEnd.NEUTRAL
            case DeadlineExceeded() if is_run or not error.sent:
                return CallEnd.NEUTRAL
            case TransportError():
                return CallEnd.FAILED
            case ServicePaused():
                return CallEnd.ANSWERED
            case UpstreamFailed() | OutcomeUnknown() | Unavailable():
                return CallEnd.NEUTRAL if is_run else CallEnd.FAILED
            case Refusal():
                return CallEnd.ANSWERED
            case _:
                return CallEnd.NEUTRAL
