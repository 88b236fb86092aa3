from __future__ import annotations

import pytest

from proxy.errors import BadRequest
from proxy.fal_api import headers
from proxy.fal_api.operations import Action
from proxy.http.fields import by_name, first

GOOD = [
    (b"x-fal-request-timeout", b"30.0"),
    (b"x-fal-request-start-timeout", b"10"),
    (b"x-fal-queue-priority", b"normal"),
    (b"x-fal-runner-hint", b"stabilityai/sdxl lora:7"),
    (b"x-fal-no-retry", b"1"),
    (b"x-fal-store-io", b"0"),
    (b"x-fal-object-lifecycle-preference", b'{"expiration_duration_seconds": 3600}'),
    (b"x-app-fal-disable-fallback", b"true"),
    (b"x-fal-tags", b"team=a,env=prod"),
]

STOPPED = [
    b"authorization",
    b"cookie",
    b"proxy-authorization",
    b"x-fal-target-url",
    b"x-fal-cdn-token",
    b"x-app-fal-can-disable-filter",
    b"x-app-fal-fallback",
    b"x_fal_queue_priority",
    b"x-forwarded-for",
    b"forwarded",
    b"via",
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"te",
    b"upgrade",
    b"origin",
    b"referer",
    b"range",
    b"if-none-match",
    b"accept",
    b"accept-encoding",
    b"user-agent",
    b"expect",
    b"x-http-method-override",
]


def test_a_submit_carries_fals_own_options() -> None:
    """The options that fal documents for callers go through as they are."""
    assert tuple(GOOD) == headers.options(Action.SUBMIT, GOOD)


@pytest.mark.parametrize("name", STOPPED, ids=lambda name: name.decode())
def test_every_other_field_stops_here(name: bytes) -> None:
    """A field that is not on the list is dropped, under any name."""
    assert headers.options(Action.SUBMIT, [(name, b"anything")]) == ()


@pytest.mark.parametrize("action", [Action.STATUS, Action.RESULT, Action.CANCEL])
def test_follow_ups_carry_nothing_of_the_callers(action: Action) -> None:
    """Polls and cancels have no options."""
    assert headers.options(action, GOOD) == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-fal-request-timeout", b"-1"),
        (b"x-fal-request-timeout", b"1e9"),
        (b"x-fal-request-timeout", b""),
        (b"x-fal-request-timeout", b"30\r\nx: y"),
        (b"x-fal-queue-priority", b"high"),
        (b"x-fal-queue-priority", b"normal, low"),
        (b"x-fal-runner-hint", b"a" * 257),
        (b"x-fal-runner-hint", b" a"),
        (b"x-fal-runner-hint", "é".encode()),
        (b"x-fal-store-io", b"no"),
        (b"x-fal-object-lifecycle-preference", b"3600"),
        (b"x-app-fal-disable-fallback", b""),
        (b"x-fal-tags", b"a=b\r\nx: y"),
        (b"x-fal-no-retry", b"0"),
    ],
)
def test_a_senseless_option_is_an_error_naming_it(name: bytes, value: bytes) -> None:
    """A bad value is neither passed on nor silently dropped."""
    with pytest.raises(BadRequest, match=name.decode()):
        headers.options(Action.SUBMIT, [(name, value)])


def test_an_option_given_twice_is_an_error() -> None:
    """Two values have no one meaning."""
    with pytest.raises(BadRequest, match="x-fal-queue-priority"):
        headers.options(Action.SUBMIT, [(b"x-fal-queue-priority", b"low"), (b"x-fal-queue-priority", b"normal")])


def test_the_upstream_fields_are_exactly_these() -> None:
    """The whole upstream head of a submit and of a poll, byte for byte."""
    submit = headers.to_fal(Action.SUBMIT, b"Key a:b", [(b"x-fal-no-retry", b"1")])
    poll = headers.to_fal(Action.STATUS, b"Key a:b", ())

    assert [name for name, _ in submit] == [
        b"authorization",
        b"user-agent",
        b"accept",
        b"accept-encoding",
        b"content-type",
        b"x-fal-no-retry",
    ]
    assert [name for name, _ in poll] == [b"authorization", b"user-agent", b"accept", b"accept-encoding"]
    assert dict(headers.to_fal(Action.STATUS_STREAM, b"Key a:b", ()))[b"accept"] == b"text/event-stream"


def test_an_answer_keeps_two_fields_of_fals() -> None:
    """Cookies, CORS, servers, locations and ids of fal's answers stay behind, and odd values with them."""
    sent = [
        (b"set-cookie", b"a=b"),
        (b"access-control-allow-origin", b"*"),
        (b"server", b"fal"),
        (b"location", b"https://evil.test"),
        (b"x-fal-request-id", b"raw"),
        (b"x-fal-cdn-token", b"secret"),
        (b"www-authenticate", b"Basic"),
        (b"x-fal-error-type", b"startup_timeout"),
        (b"x-fal-request-timeout-type", b"user"),
        (b"x-fal-error-type", b"odd\x00value"),
    ]

    assert headers.from_fal(by_name(sent)) == (
        (b"x-fal-request-timeout-type", b"user"),
        (b"x-fal-error-type", b"startup_timeout"),
    )
    assert headers.from_fal({b"x-fal-error-type": b"odd\x00value"}) == ()


def test_the_first_field_of_a_name_is_found() -> None:
    """Lookup gives the first value, or None."""
    assert first([(b"a", b"1"), (b"b", b"2"), (b"b", b"3")], b"b") == b"2"
    assert first([], b"b") is None


@pytest.mark.parametrize("action", [Action.UPLOAD, Action.TOKEN])
def test_uploads_and_tokens_take_no_options(action: Action) -> None:
    """Not one field of the caller's goes on with them; what they carry is JSON."""
    assert headers.options(action, GOOD) == ()
    assert (b"content-type", b"application/json") in headers.to_fal(action, b"Key x", ())
