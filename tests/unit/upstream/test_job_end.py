from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.fal_api.operations import Action
from proxy.upstream.job_end import JobEnd, job_end_from_status
from proxy.upstream.outcomes import Outcome, UpstreamResult

STOPPED = {"status": "COMPLETED", "error": "Request was cancelled", "error_type": "client_cancelled"}
STOPPED_FIELDS = ((b"x-fal-error-type", b"client_cancelled"),)


def relayed(status: int, body: object = None, units: float | None = None) -> UpstreamResult:
    outcome = Outcome.ACCEPTED if status < 400 else Outcome.FAILED if status == 422 else Outcome.REFUSED
    return UpstreamResult(outcome, status, (), json.dumps(body or {}).encode(), units)


@pytest.mark.parametrize(
    ("action", "answer", "ending"),
    [
        (Action.STATUS, relayed(202, {"status": "IN_QUEUE"}), None),
        (Action.STATUS, relayed(202, {"status": "IN_PROGRESS"}), None),
        (Action.STATUS, relayed(200, {"status": "COMPLETED"}), JobEnd()),
        (Action.STATUS, relayed(200, {"status": "COMPLETED", "error": None}, 1.5), JobEnd(units=1.5)),
        (Action.STATUS, relayed(200, {"status": "COMPLETED", "error": "Failed"}), JobEnd(failed=True)),
        (Action.STATUS, relayed(200, STOPPED), JobEnd(cancelled=True, failed=True)),
        (Action.STATUS, relayed(200, {"status": "SOMETHING_NEW"}), None),
        (Action.STATUS, relayed(200, ["odd"]), None),
        (Action.STATUS, relayed(422), None),
        (Action.STATUS_STREAM, relayed(200, {"status": "IN_PROGRESS"}), None),
        (Action.STATUS_STREAM, relayed(200, {"status": "COMPLETED"}), JobEnd()),
        (Action.STATUS_STREAM, relayed(200, {"status": "COMPLETED", "error": "Failed"}), JobEnd(failed=True)),
        (Action.STATUS_STREAM, relayed(200, ["odd"]), None),
        (Action.RUN, relayed(200, {"status": "COMPLETED"}), None),
        (Action.RESULT, relayed(200, {"images": []}, 2.0), JobEnd(units=2.0)),
        (Action.RESULT, relayed(400, {"detail": "Request is still in progress"}), None),
        (Action.RESULT, relayed(422), JobEnd(failed=True)),
        (Action.RESULT, replace(relayed(422), headers=STOPPED_FIELDS), JobEnd(cancelled=True, failed=True)),
        (Action.CANCEL, relayed(200, {"status": "OK"}), JobEnd(cancelled=True)),
        (Action.CANCEL, relayed(202, {"status": "CANCELLATION_REQUESTED"}), None),
        (Action.CANCEL, relayed(400, {"status": "ALREADY_COMPLETED"}), None),
    ],
)
def test_an_answer_shows_the_end_or_does_not(action: Action, answer: UpstreamResult, ending: JobEnd | None) -> None:
    """Only what fal says in so many words ends a job."""
    assert job_end_from_status(action, answer) == ending
