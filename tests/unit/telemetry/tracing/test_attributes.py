"""Tests of the attributes of spans."""

from __future__ import annotations

import pytest

from proxy.errors import OutcomeUnknown
from proxy.telemetry.access_record import AccessRecord
from proxy.telemetry.tracing.attributes import (
    call_attributes,
    call_failure,
    call_name,
    failure,
    method_name,
    record_attributes,
    redacted_route,
    server_attributes,
)

PREFIX = "/api/fal"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/api/fal/proxy", "/api/fal/proxy"),
        ("/api/fal/queue/fal-ai/flux/requests/secret.mac/status", "/api/fal/queue/{path}"),
        ("/api/fal/webhooks/fal/credential", "/api/fal/webhooks/{path}"),
        ("/mounted/api/fal/run/fal-ai/flux", "/api/fal/run/{path}"),
        ("/api/fal/a-callers-word", None),
        ("/api/fal/", None),
        ("/playground.js", None),
    ],
)
def test_a_route_has_nothing_that_its_caller_wrote(path: str, route: str | None) -> None:
    """Of a path only the constant part is shown, of an unknown one nothing."""
    attributes = server_attributes("GET", path, prefix=PREFIX, origin="https://app.example.com")

    assert redacted_route(path, PREFIX) == route
    assert attributes.get("http.route") == route
    assert ("url.path" in attributes) == (route is not None)


def test_a_method_is_one_of_http() -> None:
    """A method that HTTP does not have is shown as the conventions say."""
    assert (method_name("PUT"), method_name("CANARY")) == ("PUT", "_OTHER")


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        ("https://app.example.com", ("app.example.com", 443, "https")),
        ("http://127.0.0.1:8080", ("127.0.0.1", 8080, "http")),
        ("http://[::1]", ("::1", 80, "http")),
    ],
)
def test_the_server_is_the_public_one(origin: str, address: tuple[str, int, str]) -> None:
    """Address, port and scheme are those of the public origin, whatever the request says."""
    attributes = server_attributes("GET", "/", prefix=PREFIX, origin=origin)

    assert (attributes["server.address"], attributes["server.port"], attributes["url.scheme"]) == address


def test_a_call_is_named_by_its_template_and_has_no_query() -> None:
    """The id of a job is in the URL alone, and a query nowhere: it may hold the credential of a webhook."""
    path = "/fal-ai/flux/requests/0c1d/status?fal_webhook=canary"
    attributes = call_attributes("GET", "https://queue.fal.run", path)

    assert call_name("GET", path) == "GET /fal-ai/flux/requests/{request_id}/status"
    assert attributes["url.template"] == "/fal-ai/flux/requests/{request_id}/status"
    assert attributes["url.full"] == "https://queue.fal.run/fal-ai/flux/requests/0c1d/status"
    assert (call_failure(422), call_failure(200)) == ("422", None)


def record(**facts: object) -> AccessRecord:
    made = AccessRecord("id-1", "POST", b"/", lambda: 0.0)
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def test_only_known_facts_are_attributes() -> None:
    """A record of a request that ended early has its status and its request id, and no empty attribute."""
    attributes = record_attributes(record(status=401), shows_callers=True)

    assert attributes == {
        "http.response.status_code": 401,
        "http.response.body.size": 0,
        "fal_proxy.request_id": "id-1",
    }


def test_a_refusal_keeps_its_reason_to_the_journal() -> None:
    """The error type, the names of limits and the digest are there; the reason and the address are not."""
    refused = record(caller="ab" * 32, address="192.0.2.1", observed=("trial",), limit=("budget", "daily"))
    refused.record_refusal(OutcomeUnknown(reason="canary"))
    refused.limit = ("budget", "daily")
    shown = record_attributes(refused, shows_callers=True)

    assert failure(refused) == shown["error.type"] == refused.error_type
    assert (shown["fal_proxy.limit"], shown["fal_proxy.would_deny"]) == (("daily",), ("trial",))
    assert shown["enduser.pseudo.id"] == "ab" * 8
    assert "canary" not in str(shown)
    assert "192.0.2.1" not in str(shown)
    assert "enduser.pseudo.id" not in record_attributes(refused, shows_callers=False)
