from __future__ import annotations

import inspect

import pytest

from proxy import errors
from proxy.errors import (
    NotSent,
    OutcomeUnknown,
    PoolExhausted,
    PoolFull,
    RateLimited,
    Refusal,
    ServicePaused,
    TransportError,
    UpstreamFailed,
)
from proxy.upstream.outcomes import Outcome, read_error, refusal_outcome, submit_error

TRANSPORT = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TransportError)]


@pytest.mark.parametrize("kind", TRANSPORT, ids=lambda kind: kind.__name__)
def test_every_transport_error_has_an_outcome(kind: type[TransportError]) -> None:
    """A sent byte decides alone: 503 or final 504 for submits, 503 or 502 for reads."""
    error = kind.__new__(kind)
    for sent, submit, read in [(False, None, None), (True, OutcomeUnknown, UpstreamFailed)]:
        TransportError.__init__(error, "broke", sent=sent)

        unsent = PoolFull if kind is PoolExhausted else NotSent
        assert type(submit_error(error)) is (submit or unsent)
        assert type(read_error(error)) is (read or unsent)


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (NotSent(), Outcome.NOT_SENT),
        (PoolFull(), Outcome.NOT_SENT),
        (ServicePaused(retry_after=20), Outcome.REFUSED),
        (OutcomeUnknown(), Outcome.UNKNOWN),
        (UpstreamFailed(), Outcome.REFUSED),
        (RateLimited(retry_after=1), Outcome.REFUSED),
    ],
)
def test_a_refusal_tells_what_became_of_the_money(refusal: Refusal, outcome: Outcome) -> None:
    """The ledger settles by this."""
    assert refusal_outcome(refusal) is outcome
