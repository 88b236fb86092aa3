from __future__ import annotations

import json

import pytest

from proxy.errors import BudgetExceeded, JobNotFound, UpstreamFailed, ValidationFailed
from proxy.gateway.job_responses import JobAnswers, job_named
from proxy.http.response import PROTECTIVE, Answer, refused

APP = "fal-ai/hyper-sdxl"
JOBS = JobAnswers("https://app.example.com/api/fal")
JOB_URL = f"https://app.example.com/api/fal/queue/{APP}/requests/job-1.mac"


def test_a_refusal_is_read_by_every_client() -> None:
    """`detail` for fal's Python client, `message` for the JavaScript one, `error_type` for programs."""
    answer = refused(JobNotFound(reason="secret thought"))

    assert json.loads(answer.body) == {
        "detail": "Job not found",
        "message": "Job not found",
        "error_type": "job_not_found",
    }
    assert answer.status == 404


def test_a_validation_refusal_is_a_list_with_a_readable_message() -> None:
    """The list stays fal's; the message names each field."""
    answer = refused(
        ValidationFailed(
            [
                {"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"},
                {"loc": ["body", "embeddings", 0], "msg": "Input should be an object", "type": "dict_type"},
            ]
        )
    )
    told = json.loads(answer.body)

    assert told["message"] == "body.prompt: Field required; body.embeddings.0: Input should be an object"
    assert [error["loc"] for error in told["detail"]] == [["body", "prompt"], ["body", "embeddings", 0]]


def test_every_answer_is_protected_and_carries_an_id() -> None:
    """Length, type, protective fields and the request's id are on the wire."""
    fields = Answer(200, b"{}").wire_headers(b"request-1", [(b"x", b"y")])

    assert set(PROTECTIVE) <= set(fields)
    assert {(b"content-length", b"2"), (b"x-fal-request-id", b"request-1"), (b"x", b"y")} <= set(fields)


def test_an_answer_about_a_job_carries_its_handle_only() -> None:
    """`result.requestId` of the JavaScript client comes from this header alone, so it must be the handle."""
    fields = JOBS.result(200, b"[]", handle="job-1.mac", headers=()).wire_headers(b"request-1")

    assert [value for name, value in fields if name == b"x-fal-request-id"] == [b"job-1.mac"]


def test_a_submit_is_answered_with_our_own_addresses() -> None:
    """Nothing but the state and the queue position is fal's; foreign URLs and ids are gone."""
    said: dict[str, object] = {
        "status": "IN_QUEUE",
        "request_id": "job-1",
        "gateway_request_id": "job-1",
        "status_url": "https://evil.test/",
        "response_url": "https://queue.fal.run/x",
        "cancel_url": None,
        "queue_position": 3,
        "surprise": "https://evil.test/",
    }
    answer = JOBS.submitted(json.dumps(said).encode(), app=APP, handle="job-1.mac", headers=((b"a", b"b"),))

    assert json.loads(answer.body) == {
        "status": "IN_QUEUE",
        "request_id": "job-1.mac",
        "response_url": JOB_URL,
        "status_url": f"{JOB_URL}/status",
        "cancel_url": f"{JOB_URL}/cancel",
        "queue_position": 3,
    }
    assert answer.headers == ((b"a", b"b"), (b"x-fal-request-id", b"job-1.mac"))


def test_a_terse_submit_answer_is_completed() -> None:
    """Older fal answers lack status and position; clients index them all the same."""
    told = json.loads(JOBS.submitted(b'{"request_id": "job-1"}', app=APP, handle="job-1.mac", headers=()).body)

    assert (told["status"], told["queue_position"]) == ("IN_QUEUE", None)


@pytest.mark.parametrize("said", [b"", b"<html>", b"[]", b"{}", b'{"request_id": 7}', b'{"request_id": null}'])
def test_a_submit_answer_without_a_job_is_a_failure(said: bytes) -> None:
    """What names no job cannot be handed out."""
    with pytest.raises(UpstreamFailed):
        job_named(said)


def test_a_status_keeps_all_but_ids_and_urls() -> None:
    """Logs, metrics and unknown fields stay; the job's id and URLs become ours; a null URL too."""
    said: dict[str, object] = {
        "status": "IN_PROGRESS",
        "request_id": "other",
        "gateway_request_id": "raw",
        "response_url": None,
        "logs": [{"message": "step 1"}],
        "metrics": {},
        "later_field": 1,
    }
    answer = JOBS.followed(202, json.dumps(said).encode(), app=APP, handle="job-1.mac", headers=())

    assert answer.status == 202
    assert json.loads(answer.body) == {
        "status": "IN_PROGRESS",
        "request_id": "job-1.mac",
        "response_url": JOB_URL,
        "logs": [{"message": "step 1"}],
        "metrics": {},
        "later_field": 1,
    }


def test_a_result_is_passed_byte_for_byte() -> None:
    """Big integers and spacing of the model's answer survive."""
    said = b'{ "seed": 18446744073709551629123, "x": 0.10 }'

    assert JOBS.result(200, said, handle="job-1.mac", headers=()).body == said


@pytest.mark.parametrize("said", [b"", b"{", b"\xff", b"<html></html>"])
def test_a_result_that_is_no_json_is_a_failure(said: bytes) -> None:
    """Broken bytes never reach a caller as a success."""
    with pytest.raises(UpstreamFailed):
        JOBS.result(200, said, handle="job-1.mac", headers=())


def test_fals_id_is_read_from_a_submits_answer() -> None:
    """Whatever else the answer holds."""
    assert job_named(b'{"status": "IN_QUEUE", "request_id": "job-1"}') == "job-1"


def test_a_refusal_may_state_facts() -> None:
    """Programs need not parse a sentence."""
    told = json.loads(refused(BudgetExceeded("Spent", facts={"budget": {"name": "daily", "left": 0}})).body)

    assert (told["budget"], told["detail"]) == ({"name": "daily", "left": 0}, "Spent")
