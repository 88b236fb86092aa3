from __future__ import annotations

import pytest

from proxy.demo.contract_calls import Answer
from proxy.demo.contract_shapes import differences
from proxy.strict_json import Json

URL = "https://queue.fal.run/fal-ai/flux/requests/{}/status"


def answer(body: Json, *, step: str = "submit", headers: frozenset[str] = frozenset({"x-fal-request-id"})) -> Answer:
    return Answer(step, 200, "application/json", headers, body)


@pytest.mark.parametrize(
    ("fal", "sandbox", "words"),
    [
        ({"a": 1}, {"a": 2.5}, []),
        ({"a": None}, {"a": "x"}, []),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}, {"b": 3}]}, []),
        ({"status_url": URL.format("1")}, {"status_url": URL.format("2")}, []),
        ({"a": "1"}, {"a": 1}, ["a is a string, in the sandbox a number"]),
        ({"a": 1, "b": 1}, {"a": 1, "c": 1}, ["has no c", "has b, the sandbox does not"]),
        ({"a": [{"b": True}]}, {"a": [{"b": 1}]}, ["a[0].b is true or false, in the sandbox a number"]),
        ({"status": "OK"}, {"status": "IN_QUEUE"}, ["status is 'OK', in the sandbox 'IN_QUEUE'"]),
        (
            {"status_url": "https://queue.fal.run/fal-ai/flux/requests/1"},
            {"status_url": URL.format("2")},
            ["status_url has the form /fal-ai/flux/requests/<id>, in the sandbox /fal-ai/flux/requests/<id>/status"],
        ),
    ],
)
def test_shapes_are_compared_and_not_values(fal: Json, sandbox: Json, words: list[str]) -> None:
    """Types, field names, states and forms of addresses count; null fits any type."""
    assert [problem.message for problem in differences([answer(fal)], [answer(sandbox)])] == words


def test_headers_and_missing_steps_are_differences() -> None:
    """A header that one side alone sends, and a step that fal did not reach."""
    expected = [answer({}), answer({}, step="result")]
    found = differences([answer({}, headers=frozenset({"retry-after"}))], expected)

    assert [(problem.key, problem.message) for problem in found] == [
        ("fal: submit", "sends no x-fal-request-id"),
        ("fal: submit", "sends retry-after, the sandbox does not"),
        ("fal: result", "was not reached"),
    ]


def test_a_job_that_ended_at_once_is_not_compared_with_an_unfinished_one() -> None:
    """A fast model has no unfinished status."""
    step = "status, unfinished"
    found = differences([answer({"status": "COMPLETED"}, step=step)], [answer({"status": "IN_QUEUE"}, step=step)])

    assert found == []
