from __future__ import annotations

import inspect
import re

import pytest

from proxy import errors
from proxy.errors import JobNotFound, OutcomeUnknown, Problem, RateLimited, Refusal, Unauthenticated, Unavailable

LEAVES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.FalProxyError)]
REFUSALS = [kind for kind in LEAVES if issubclass(kind, Refusal) and kind is not Refusal]


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_error_stands_in_the_drawn_tree(kind: type[Exception]) -> None:
    """The tree at the top of the module is complete."""
    assert re.search(rf"^ .*\b{kind.__name__}\b", errors.__doc__ or "", re.MULTILINE)


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_the_tree_tells_each_refusals_status(kind: type[Refusal]) -> None:
    """The status drawn is the status answered."""
    drawn = re.search(rf"\b{kind.__name__} +(\d{{3}})\b", errors.__doc__ or "")

    assert drawn is not None
    assert kind.status == int(drawn[1])


def test_nothing_in_the_tree_is_missing_from_the_module() -> None:
    """Every name drawn exists."""
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))

    assert drawn <= {kind.__name__ for kind in LEAVES}


def test_a_401_challenges_and_keeps_its_reason_to_itself() -> None:
    """RFC 6750: the challenge is there; the reason is for the log, not the body."""
    refusal = Unauthenticated(reason="expired")

    assert (b"www-authenticate", b"Bearer") in refusal.headers
    assert refusal.detail == "Sign in again: this call has no valid session token"
    assert str(refusal) == "expired"


def test_an_unknown_outcome_tells_clients_not_to_replay() -> None:
    """The 504 carries the header that stops the stock clients."""
    assert (b"x-fal-request-timeout-type", b"user") in OutcomeUnknown().headers


@pytest.mark.parametrize("refusal", [RateLimited(retry_after=0), Unavailable(retry_after=-5)])
def test_retry_after_is_at_least_a_second(refusal: Refusal) -> None:
    """A zero would ask for an immediate storm."""
    assert (b"retry-after", b"1") in refusal.headers


def test_a_missing_job_has_one_wording() -> None:
    """The caller gets the same text for every reason."""
    assert JobNotFound().detail == JobNotFound(reason="foreign").detail


def test_a_configuration_error_lists_every_problem() -> None:
    """One line a problem, each with its key."""
    error = errors.ConfigError([Problem("a.b", "bad"), Problem("c", "worse")])

    assert str(error) == "a.b: bad\nc: worse"
