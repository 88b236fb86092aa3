from __future__ import annotations

import json

import pytest

from proxy.auth.authorization import Authorization, Grant, Listing
from proxy.auth.caller import Caller
from proxy.auth.job_handles import JobHandles
from proxy.errors import BadRequest, UpstreamFailed, ValidationFailed
from proxy.fal_api.operations import Action, resolve
from proxy.payload.realtime_tokens import RealtimeTokens

REALTIME = RealtimeTokens(["fal-ai/fast-lcm", "fal-ai/flow/v2", "workflows/me/talk"], max_seconds=120)
OLDER, NEWER = b"/tokens/", b"/tokens/realtime"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln"


def grant(route: bytes) -> Grant:
    ownership = Authorization([Listing("realtime", frozenset({Action.TOKEN}))], JobHandles([b"x" * 32]))
    caller = Caller("https://app.test", "alice", "00", frozenset(), 0.0, {})
    return ownership.authorize(caller, resolve("POST", route, b"", None))


@pytest.mark.parametrize(
    ("route", "body", "sent"),
    [
        (OLDER, {"allowed_apps": ["fast-lcm"]}, {"allowed_apps": ["fast-lcm"], "token_expiration": 120}),
        (
            OLDER,
            {"allowed_apps": ["fast-lcm"], "token_expiration": 60},
            {"allowed_apps": ["fast-lcm"], "token_expiration": 60},
        ),
        (
            OLDER,
            {"token_expiration": 10**20, "allowed_apps": ["flow", "talk"]},
            {"allowed_apps": ["flow", "talk"], "token_expiration": 120},
        ),
        (
            NEWER,
            {"allowed_apps": ["fal-ai/fast-lcm/realtime"], "duration": 9.0},
            {"allowed_apps": ["fal-ai/fast-lcm/realtime"], "duration": 9},
        ),
        (
            NEWER,
            {"allowed_apps": ["fal-ai/flow/v2/realtime"], "duration": 121},
            {"allowed_apps": ["fal-ai/flow/v2/realtime"], "duration": 120},
        ),
        (
            NEWER,
            {"allowed_apps": ["workflows/me/talk/realtime"]},
            {"allowed_apps": ["workflows/me/talk/realtime"], "duration": 120},
        ),
    ],
)
def test_a_request_is_made_anew_and_its_life_capped(route: bytes, body: object, sent: object) -> None:
    """Each mint in its own words: listed apps, and never longer than the operator says."""
    payload = REALTIME.admit(grant(route), json.dumps(body).encode())

    assert payload.endpoint == "realtime"
    assert json.loads(payload.raw) == payload.value == sent


@pytest.mark.parametrize(
    ("route", "body", "place"),
    [
        (OLDER, {}, ["allowed_apps"]),
        (OLDER, {"allowed_apps": []}, ["allowed_apps"]),
        (OLDER, {"allowed_apps": "fast-lcm"}, ["allowed_apps"]),
        (OLDER, {"allowed_apps": ["other"]}, ["allowed_apps", 0]),
        (OLDER, {"allowed_apps": ["fast-lcm", "other"]}, ["allowed_apps", 1]),
        (OLDER, {"allowed_apps": ["fal-ai/fast-lcm"]}, ["allowed_apps", 0]),
        (OLDER, {"allowed_apps": ["*"]}, ["allowed_apps", 0]),
        (OLDER, {"allowed_apps": ["Fast-LCM"]}, ["allowed_apps", 0]),
        (OLDER, {"allowed_apps": ["fast-lcm"], "duration": 9}, ["duration"]),
        (OLDER, {"allowed_apps": ["fast-lcm"], "token_expiration": 0}, ["token_expiration"]),
        (OLDER, {"allowed_apps": ["fast-lcm"], "token_expiration": -5}, ["token_expiration"]),
        (OLDER, {"allowed_apps": ["fast-lcm"], "token_expiration": 1.5}, ["token_expiration"]),
        (OLDER, {"allowed_apps": ["fast-lcm"], "token_expiration": "60"}, ["token_expiration"]),
        (OLDER, {"allowed_apps": ["fast-lcm"], "token_expiration": True}, ["token_expiration"]),
        (OLDER, {"allowed_apps": ["fast-lcm"], "token_expiration": None}, ["token_expiration"]),
        (OLDER, {"allowed_apps": ["fast-lcm"], "scope": "all"}, ["scope"]),
        (NEWER, {"allowed_apps": ["fal-ai/fast-lcm"]}, ["allowed_apps", 0]),
        (NEWER, {"allowed_apps": ["fast-lcm"]}, ["allowed_apps", 0]),
        (NEWER, {"allowed_apps": ["fal-ai/flow/realtime"]}, ["allowed_apps", 0]),
        (NEWER, {"allowed_apps": ["fal-ai/fast-lcm/realtime/"]}, ["allowed_apps", 0]),
        (NEWER, {"allowed_apps": ["fal-ai/fast-lcm/realtime"] * 2}, ["allowed_apps"]),
        (NEWER, {"app": "fal-ai/fast-lcm/realtime"}, ["allowed_apps"]),
        (NEWER, {"allowed_apps": ["fal-ai/fast-lcm/realtime"], "token_expiration": 9}, ["token_expiration"]),
    ],
)
def test_what_is_wrong_is_told_with_its_field(route: bytes, body: object, place: list[str | int]) -> None:
    """Nothing but listed apps and a number of seconds, in the words of the route that was called."""
    with pytest.raises(ValidationFailed) as refused:
        REALTIME.admit(grant(route), json.dumps(body).encode())

    assert place in [error["loc"][1:] for error in refused.value.detail]


def test_the_body_is_strict_json() -> None:
    """A list of apps given twice is refused, not merged."""
    with pytest.raises(BadRequest):
        REALTIME.admit(grant(OLDER), b'{"allowed_apps":["fast-lcm"],"allowed_apps":["other"]}')


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (TOKEN, TOKEN),
        ({"token": TOKEN}, {"token": TOKEN}),
        ({"token": TOKEN, "account": "me"}, {"token": TOKEN}),
        ({"detail": TOKEN}, {"detail": TOKEN}),
    ],
)
def test_the_token_goes_on_and_nothing_else(response: object, answer: object) -> None:
    """In the shape fal gave it: a string, or an object with it."""
    assert json.loads(REALTIME.checked_response(json.dumps(response).encode())) == answer


@pytest.mark.parametrize(
    "response",
    [None, 7, [], [TOKEN], {}, {"token": 7}, {"token": ""}, "", "short", "a b c d e f", TOKEN + "\n", "x" * 9000],
)
def test_an_answer_without_a_token_is_none(response: object) -> None:
    """An answer that is no token is not handed out, and the reason does not repeat it."""
    with pytest.raises(UpstreamFailed) as refused:
        REALTIME.checked_response(json.dumps(response).encode())

    assert refused.value.reason == "fal answered a token request without a token"
