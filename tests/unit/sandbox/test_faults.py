from __future__ import annotations

import pytest
from pydantic import ValidationError

from proxy.sandbox.faults import Action, Fault, FaultSet, Kind


def strikes(faults: FaultSet, action: Action, times: int) -> list[bool]:
    return [faults.draw(action) is not None for _ in range(times)]


def test_a_fault_matches_its_action_only() -> None:
    """Other actions pass; `*` matches every route, but not the model's own work."""
    faults = FaultSet([Fault(Kind.HANG, "submit")], seed=0)
    assert [strikes(faults, action, 1) for action in ("submit", "status")] == [[True], [False]]

    faults.replace([Fault(Kind.HANG)])
    assert [strikes(faults, action, 1) for action in ("submit", "file", "model")] == [[True], [True], [False]]


def test_a_locked_account_refuses_its_own_actions_only() -> None:
    """Under `*` it matches submits, runs, uploads and status reads, and no result, cancel or file."""
    faults = FaultSet([Fault(Kind.LOCKED)], seed=0)
    refused: list[Action] = ["submit", "run", "run-stream", "upload", "status", "status-stream"]
    served: list[Action] = ["result", "cancel", "put", "file", "token", "jwks", "model"]

    assert [strikes(faults, action, 1) for action in refused] == [[True]] * len(refused)
    assert [strikes(faults, action, 1) for action in served] == [[False]] * len(served)


def test_a_fault_of_one_key() -> None:
    """Only requests with that key fail, and an invalid key fails wherever a key is taken."""
    faults = FaultSet([Fault(Kind.INVALID_KEY, key="old")], seed=0)

    assert faults.draw("submit", "new") is None
    assert faults.draw("submit") is None
    assert faults.draw("submit", "old") is not None
    assert faults.draw("result", "old") is not None
    assert faults.draw("file", "old") is None


def test_a_count_is_counted_down() -> None:
    """A fault with a count fails that many requests, shows the rest, and is then removed."""
    faults = FaultSet([Fault(Kind.RESET, count=2)], seed=0)

    assert strikes(faults, "submit", 1) == [True]
    assert [fault.count for fault in faults.active] == [1]
    assert strikes(faults, "submit", 3) == [True, False, False]
    assert faults.active == ()


def test_the_first_matching_fault_is_used() -> None:
    """Faults are matched in their order, one for each request."""
    first, second = Fault(Kind.HANG, "submit", count=1), Fault(Kind.RESET)
    faults = FaultSet([first, second], seed=0)

    assert [faults.draw("submit"), faults.draw("submit")] == [first, second]


def test_probability_is_seeded() -> None:
    """About three in ten of 1000 requests fail, and the same ones for the same seed."""
    faults = [Fault(Kind.RESET, probability=0.3)]
    once = strikes(FaultSet(faults, seed=5), "submit", 1000)

    assert once == strikes(FaultSet(faults, seed=5), "submit", 1000)
    assert once != strikes(FaultSet(faults, seed=6), "submit", 1000)
    assert 250 < sum(once) < 350


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "explode"},
        {"kind": "status", "status": 200},
        {"kind": "status", "count": 0},
        {"kind": "status", "probability": 1.1},
        {"kind": "status", "delay": -1},
        {"kind": "latency", "after": True},
        {"kind": "truncate", "after": True},
        {"kind": "content-type", "after": True},
        {"kind": "status", "action": "model", "after": True},
        {"kind": "reset", "action": "model"},
        {"kind": "locked", "action": "model"},
        {"kind": "locked", "action": "cancel"},
        {"kind": "locked", "after": True},
        {"kind": "invalid-key", "action": "file"},
        {"kind": "status", "action": "model", "key": "a"},
        {"kind": "status", "statsu": 500},
        {"kind": "status", "action": "sumbit"},
    ],
    ids=str,
)
def test_an_invalid_fault_is_refused(fields: dict[str, object]) -> None:
    """Unknown kinds, actions and fields, and values out of range, raise when the fault is made."""
    with pytest.raises(ValidationError):
        Fault(**fields)  # type: ignore[arg-type]
