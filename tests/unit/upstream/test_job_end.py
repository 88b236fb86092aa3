from __future__ import annotations

import json

import pytest

from proxy.fal_api.operations import Action
from proxy.upstream.job_end import Ending, ending_of
from proxy.upstream.outcomes import Outcome, Relayed


def relayed(status: int, body: object = None, units: float | None = None) -> Relayed:
    outcome = Outcome.ACCEPTED if status < 400 else Outcome.REFUSED
    return Relayed(outcome, status, (), json.dumps(body or {}).encode(), units)


@pytest.mark.parametrize(
    ("action", "answer", "ending"),
    [
        (Action.STATUS, relayed(202, {"status": "IN_QUEUE"}), None),
        (Action.STATUS, relayed(202, {"status": "IN_PROGRESS"}), None),
        (Action.STATUS, relayed(200, {"status": "COMPLETED"}), Ending()),
        (Action.STATUS, relayed(200, {"status": "COMPLETED", "error": None}, 1.5), Ending(units=1.5)),
        (Action.STATUS, relayed(200, {"status": "COMPLETED", "error": "Failed"}), Ending(failed=True)),
        (Action.STATUS, relayed(200, {"status": "SOMETHING_NEW"}), None),
        (Action.STATUS, relayed(200, ["odd"]), None),
        (Action.STATUS, relayed(422), None),
        (Action.STATUS_STREAM, relayed(200, {"status": "IN_PROGRESS"}), None),
        (Action.STATUS_STREAM, relayed(200, {"status": "COMPLETED"}), Ending()),
        (Action.STATUS_STREAM, relayed(200, {"status": "COMPLETED", "error": "Failed"}), Ending(failed=True)),
        (Action.STATUS_STREAM, relayed(200, ["odd"]), None),
        (Action.RUN, relayed(200, {"status": "COMPLETED"}), None),
        (Action.RESULT, relayed(200, {"images": []}, 2.0), Ending(units=2.0)),
        (Action.RESULT, relayed(400, {"detail": "Request is still in progress"}), None),
        (Action.RESULT, relayed(422), Ending(failed=True)),
        (Action.CANCEL, relayed(200, {"status": "OK"}), Ending(cancelled=True)),
        (Action.CANCEL, relayed(202, {"status": "CANCELLATION_REQUESTED"}), None),
        (Action.CANCEL, relayed(400, {"status": "ALREADY_COMPLETED"}), None),
    ],
)
def test_an_answer_shows_the_end_or_does_not(action: Action, answer: Relayed, ending: Ending | None) -> None:
    """Only what fal says in so many words ends a job."""
    assert ending_of(action, answer) == ending
