from __future__ import annotations

import json
from itertools import count

from proxy.telemetry.request_trace import MAX_NAMES, MAX_NOTE, RequestTrace


def trace() -> RequestTrace:
    """Returns a trace whose clock goes on by a second at each look."""
    ticks = count()
    return RequestTrace(lambda: float(next(ticks)))


def dumped(of: RequestTrace) -> dict[str, object]:
    text = of.dump()
    assert text is not None
    value = json.loads(text)
    assert isinstance(value, dict)
    return value


def steps(of: RequestTrace) -> list[dict[str, object]]:
    value = dumped(of)["steps"]
    assert isinstance(value, list)
    return value


def test_a_request_without_steps_has_no_trace() -> None:
    """A page beside the gateway gets no header field."""
    assert trace().dump() is None


def test_each_step_lasts_until_the_next_one() -> None:
    """Steps stand in the order in which they began, with their time and the note that is special to them."""
    of = trace()
    of.enter("authenticate")
    of.note("alice")
    of.enter("resolve")

    assert dumped(of) == {
        "steps": [
            {"name": "authenticate", "ok": True, "ms": 1000.0, "note": "alice"},
            {"name": "resolve", "ok": True, "ms": 1000.0},
        ]
    }


def test_a_refusal_belongs_to_the_current_step() -> None:
    """Only the last step failed; those before it passed."""
    of = trace()
    of.enter("authenticate")
    of.enter("authorize")
    of.record_refusal("endpoint_not_allowed")

    assert [(step["name"], step["ok"]) for step in steps(of)] == [("authenticate", True), ("authorize", False)]


def test_a_paused_service_is_a_refusal_of_the_relay() -> None:
    """The pause is noticed before the body is read; it is fal's refusal all the same."""
    of = trace()
    of.enter("authorize")
    of.record_refusal("service_paused")

    assert [(step["name"], step["ok"]) for step in steps(of)] == [("authorize", True), ("relay", False)]


def test_the_payload_is_told_by_names_alone() -> None:
    """Fields that the policy set, changed and dropped are listed by name, without a value."""
    of = trace()
    of.enter("admit")
    of.record_payload({"prompt": "secret words", "extra": 1, "n": 1}, {"prompt": "secret words", "n": 2, "safe": True})
    of.record_reserved(1.05)

    value = dumped(of)
    assert (value["forced"], value["dropped"], value["reserved"]) == (["n", "safe"], ["extra"], 1.05)
    assert "secret words" not in json.dumps(value)


def test_the_header_is_bounded_ascii() -> None:
    """Long notes and many fields are cut, and a line feed or another script is escaped."""
    of = trace()
    of.enter("authenticate", "é\r\n" * MAX_NOTE)
    of.record_payload({f"field_{number}": 1 for number in range(3 * MAX_NAMES)}, {})
    text = of.dump()

    assert text is not None
    assert text.isascii()
    assert b"\n" not in text
    assert len(text) < 2000
