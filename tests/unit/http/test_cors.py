from __future__ import annotations

import pytest

from proxy.errors import Forbidden
from proxy.http.cors import Cors

APP = "https://app.example.com"
ASK = (b"access-control-request-method", b"POST")


def test_a_listed_origin_may_ask_and_read() -> None:
    """Preflight and answer name the one origin, without credentials."""
    cors = Cors([APP])
    answer = cors.preflight("OPTIONS", [(b"origin", APP.encode()), ASK])

    assert answer is not None
    fields = dict(answer.headers)
    assert answer.status == 200
    assert dict(cors.fields([(b"origin", APP.encode())]))[b"access-control-allow-origin"] == APP.encode()
    assert fields[b"access-control-max-age"] == b"600"
    assert b"x-fal-target-url" in fields[b"access-control-allow-headers"]
    assert b"x-fal-request-id" in dict(cors.fields([(b"origin", APP.encode())]))[b"access-control-expose-headers"]
    assert b"access-control-allow-credentials" not in fields


HOSTILE = [
    b"null",
    b"",
    b"*",
    b"http://app.example.com",
    b"https://app.example.com:443",
    b"https://app.example.com.evil.test",
    b"https://evil.test?https://app.example.com",
    b"https://appXexample.com",
    b"https://APP.EXAMPLE.COM",
    b"https://app.example.com/",
    b"https://sub.app.example.com",
    b"https://app.example.com, https://evil.test",
]


@pytest.mark.parametrize("origin", HOSTILE)
def test_an_origin_is_compared_byte_for_byte(origin: bytes) -> None:
    """Nothing near a listed origin is one."""
    cors = Cors([APP])

    assert cors.fields([(b"origin", origin)]) == ()
    with pytest.raises(Forbidden):
        cors.preflight("OPTIONS", [(b"origin", origin), ASK])


def test_without_a_list_no_preflight_passes() -> None:
    """CORS is off by default."""
    with pytest.raises(Forbidden):
        Cors([]).preflight("OPTIONS", [(b"origin", APP.encode()), ASK])


@pytest.mark.parametrize(("method", "fields"), [("OPTIONS", [(b"origin", APP.encode())]), ("POST", [ASK])])
def test_other_requests_are_no_preflight(method: str, fields: list[tuple[bytes, bytes]]) -> None:
    """Only OPTIONS with a requested method is one."""
    assert Cors([APP]).preflight(method, fields) is None


def allowed(cors: Cors, requested: bytes) -> list[str]:
    """Returns the request fields that a preflight may send."""
    fields = [(b"origin", APP.encode()), ASK, (b"access-control-request-headers", requested)]
    answer = cors.preflight("OPTIONS", fields)
    assert answer is not None
    return dict(answer.headers)[b"access-control-allow-headers"].decode().split(", ")


def test_tracing_and_fields_of_fal_are_allowed() -> None:
    """Any `x-fal-*`, and those of OpenTelemetry and Sentry, are allowed; no other name is repeated."""
    names = allowed(Cors([APP]), b"X-Fal-Request-Source, x-other, x-fal-, x-fal-a b, x-fal-\xe9, x-fal-source")

    assert {"traceparent", "tracestate", "baggage", "sentry-trace", "x-fal-request-source", "x-fal-source"} <= set(
        names
    )
    assert not {"x-other", "x-fal-", "x-fal-a b"} & set(names)
    assert len(names) == len(set(names))


def test_the_operator_adds_fields() -> None:
    """To those that a page may send, and to those that it may read."""
    cors = Cors([APP], headers=["x-app-version"], expose=["server-timing"])
    exposed = dict(cors.fields([(b"origin", APP.encode())]))[b"access-control-expose-headers"]

    assert "x-app-version" in allowed(cors, b"")
    assert exposed.endswith(b", server-timing")
