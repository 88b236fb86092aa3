from __future__ import annotations

import json

from proxy.errors import BudgetExceeded, JobNotFound, ValidationFailed
from proxy.http.response import PROTECTIVE, Response, error_response


def test_a_refusal_is_read_by_every_client() -> None:
    """An error has `detail` for fal's Python client, `message` for JavaScript, `error_type` for programs."""
    answer = error_response(JobNotFound(reason="secret thought"))

    assert json.loads(answer.body) == {
        "detail": "Job not found",
        "message": "Job not found",
        "error_type": "job_not_found",
    }
    assert answer.status == 404


def test_a_validation_refusal_is_a_list_with_a_readable_message() -> None:
    """The list stays fal's; the message names each field."""
    answer = error_response(
        ValidationFailed(
            [
                {"loc": ["body", "prompt"], "msg": "Field required", "type": "missing"},
                {"loc": ["body", "embeddings", 0], "msg": "Input should be an object", "type": "dict_type"},
            ]
        )
    )
    content = json.loads(answer.body)

    assert content["message"] == "body.prompt: Field required; body.embeddings.0: Input should be an object"
    assert [error["loc"] for error in content["detail"]] == [["body", "prompt"], ["body", "embeddings", 0]]


def test_every_answer_is_protected_and_carries_an_id() -> None:
    """Length, type, protective fields and the request's id are on the wire."""
    fields = Response(200, b"{}").wire_headers(b"request-1", [(b"x", b"y")])

    assert set(PROTECTIVE) <= set(fields)
    assert {(b"content-length", b"2"), (b"x-fal-request-id", b"request-1"), (b"x", b"y")} <= set(fields)


def test_a_refusal_may_state_facts() -> None:
    """Programs need not parse a sentence."""
    content = json.loads(error_response(BudgetExceeded("Spent", facts={"budget": {"name": "daily", "left": 0}})).body)

    assert (content["budget"], content["detail"]) == ({"name": "daily", "left": 0}, "Spent")
