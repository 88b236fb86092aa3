from __future__ import annotations

import json

from proxy.gateway.job_responses import result_response, status_response, submit_response
from proxy.upstream.outcomes import Accepted

APP = "fal-ai/hyper-sdxl"
URL = "https://app.example.com/api/fal"
JOB_URL = f"{URL}/queue/{APP}/requests/job-1.mac"


def test_an_answer_about_a_job_carries_its_handle_only() -> None:
    """The header holds the handle, because `requestId` of the JavaScript client comes from it alone."""
    fields = result_response(200, b"[]", handle="job-1.mac", headers=()).wire_headers(b"request-1")

    assert [value for name, value in fields if name == b"x-fal-request-id"] == [b"job-1.mac"]


def test_a_submit_is_answered_with_our_own_urls() -> None:
    """Only the state and the queue position of the answer are fal's."""
    accepted = Accepted("job-1", "IN_QUEUE", 3, ((b"a", b"b"),))
    answer = submit_response(accepted, URL, app=APP, handle="job-1.mac", headers=((b"c", b"d"),))

    assert json.loads(answer.body) == {
        "status": "IN_QUEUE",
        "request_id": "job-1.mac",
        "response_url": JOB_URL,
        "status_url": f"{JOB_URL}/status",
        "cancel_url": f"{JOB_URL}/cancel",
        "queue_position": 3,
    }
    assert answer.headers == ((b"a", b"b"), (b"c", b"d"), (b"x-fal-request-id", b"job-1.mac"))


def test_a_status_keeps_all_but_ids_and_urls() -> None:
    """Logs, metrics and unknown fields stay; the job's id and URLs become ours; a null URL too."""
    content: dict[str, object] = {
        "status": "IN_PROGRESS",
        "request_id": "other",
        "gateway_request_id": "raw",
        "response_url": None,
        "logs": [{"message": "step 1"}],
        "metrics": {},
        "later_field": 1,
    }
    answer = status_response(202, json.dumps(content).encode(), URL, app=APP, handle="job-1.mac", headers=())

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
    content = b'{ "seed": 18446744073709551629123, "x": 0.10 }'

    assert result_response(200, content, handle="job-1.mac", headers=()).body == content
