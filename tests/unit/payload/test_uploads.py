from __future__ import annotations

import json

import pytest

from proxy.auth.authorization import Authorization, Grant, Listing
from proxy.auth.caller import Caller
from proxy.auth.job_handles import JobHandles
from proxy.errors import BadRequest, UpstreamFailed, ValidationFailed
from proxy.fal_api.operations import Action, resolve
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.files.lifecycle import Lifecycle
from proxy.payload.uploads import Uploads

HOSTS = HostAllowlist.from_patterns(["fal.media", "*.fal.media"])
UPLOADS = Uploads(["image/png", "image/jpeg"], hosts=HOSTS, lifecycle=Lifecycle())
UPLOAD_URL, FILE_URL = "https://v3.fal.media/files/upload?sig=1", "https://v3.fal.media/files/b/x/cat.png"


def grant() -> Grant:
    ownership = Authorization([Listing("uploads", frozenset({Action.UPLOAD}))], JobHandles([b"x" * 32]))
    caller = Caller("https://app.test", "alice", "00", frozenset(), 0.0, {})
    return ownership.authorize(caller, resolve("POST", b"/storage/upload/initiate", b"", None))


def test_an_announcement_is_made_anew() -> None:
    """fal is sent our own text of what was understood."""
    payload = UPLOADS.admit(grant(), b' { "file_name" : "Cat.PNG", "content_type" : "image\\/png" } ')

    assert (payload.endpoint, payload.raw) == ("uploads", b'{"content_type":"image/png","file_name":"Cat.png"}')


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, ["content_type", "file_name"]),
        ({"content_type": "image/png"}, ["file_name"]),
        ({"file_name": "a.png"}, ["content_type"]),
        ({"content_type": "image/gif", "file_name": "a.gif"}, ["content_type"]),
        ({"content_type": "application/octet-stream", "file_name": "a.exe"}, ["content_type"]),
        ({"content_type": "", "file_name": "png"}, ["content_type"]),
        ({"content_type": "image/png\r\nX: y", "file_name": "a.png"}, ["content_type"]),
        ({"content_type": ["image/png"], "file_name": "a.png"}, ["content_type"]),
        ({"content_type": None, "file_name": None}, ["content_type", "file_name"]),
        ({"content_type": "image/png", "file_name": ""}, ["file_name"]),
        ({"content_type": "image/png", "file_name": 7}, ["file_name"]),
        ({"content_type": "image/png", "file_name": "a" * 256}, ["file_name"]),
        ({"content_type": "image/png", "file_name": "../a.png"}, ["file_name"]),
        ({"content_type": "image/png", "file_name": "a\x00.png"}, ["file_name"]),
        ({"content_type": "image/png", "file_name": "a.png", "acl": "public"}, ["acl"]),
        ({"content_type": "image/png", "file_name": "a.png", "lifecycle": {}, "x": 1}, ["lifecycle", "x"]),
    ],
)
def test_what_is_wrong_is_told_with_its_field(body: object, places: list[str]) -> None:
    """fal's 422: nothing but the two members, a listed type, a name that is one."""
    with pytest.raises(ValidationFailed) as refused:
        UPLOADS.admit(grant(), json.dumps(body).encode())

    assert sorted(str(error["loc"][1]) for error in refused.value.detail) == places


@pytest.mark.parametrize(
    ("content_type", "name", "sent"),
    [
        ("Image/PNG", "a.png", "image/png"),
        ("image/png; charset=utf-8", "a.png", "image/png"),
        ("image/jpg", "a.jpg", "image/jpeg"),
        ("image/pjpeg", "a.jpeg", "image/jpeg"),
        ("image/x-png", "a.png", "image/png"),
        ("", "a.PNG", "image/png"),
        ("application/octet-stream", "a.jpeg", "image/jpeg"),
        ("audio/webm;codecs=opus", "voice.webm", "audio/webm"),
        ("audio/mp3", "song.mp3", "audio/mpeg"),
        ("audio/x-m4a", "song.m4a", "audio/mp4"),
        ("audio/x-wav", "a.wav", "audio/wav"),
        ("video/x-m4v", "a.m4v", "video/mp4"),
        ("application/x-zip-compressed", "a.zip", "application/zip"),
        ("", "a.zip", "application/zip"),
    ],
)
def test_media_types_are_announced_as_registered(content_type: str, name: str, sent: str) -> None:
    """Parameters are cut off, aliases are known, and an unknown type follows the extension."""
    uploads = Uploads(
        [
            "image/png",
            "image/jpeg",
            "audio/webm",
            "audio/mpeg",
            "audio/mp4",
            "audio/wav",
            "video/mp4",
            "application/zip",
        ],
        hosts=HOSTS,
        lifecycle=Lifecycle(),
    )

    payload = uploads.admit(grant(), json.dumps({"content_type": content_type, "file_name": name}).encode())
    assert payload.value["content_type"] == sent


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"7", b"null"])
def test_no_object_no_upload(body: bytes) -> None:
    """Any other JSON value is a validation error too."""
    with pytest.raises(ValidationFailed):
        UPLOADS.admit(grant(), body)


@pytest.mark.parametrize(
    "body", [b"{", b'{"content_type":"image/png","content_type":"image/png","file_name":"a.png"}', b"\xff", b"x=y"]
)
def test_the_body_is_strict_json(body: bytes) -> None:
    """One spelling in."""
    with pytest.raises(BadRequest):
        UPLOADS.admit(grant(), body)


def test_the_two_urls_go_on_and_nothing_else() -> None:
    """Both URLs are forwarded unchanged, and nothing else of fal's answer."""
    response = {"upload_url": UPLOAD_URL, "file_url": FILE_URL, "account": "me", "x-fal-cdn-token": "t"}

    assert json.loads(UPLOADS.checked_response(json.dumps(response).encode())) == {
        "upload_url": UPLOAD_URL,
        "file_url": FILE_URL,
    }


@pytest.mark.parametrize("name", ["upload_url", "file_url"])
@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "http://v3.fal.media/x",
        "https://v3.fal.media.evil.com/x",
        "https://evil.com/v3.fal.media",
        "https://v3.fal.media@evil.com/x",
        "https://v3.fal.media:8443/x",
        "https://127.0.0.1/x",
        "javascript:alert(1)",
        "https://storage.googleapis.com/bucket/x",
        "/files/x",
    ],
)
def test_a_url_that_leads_elsewhere_goes_nowhere(name: str, url: object) -> None:
    """Callers PUT their files where fal says, so what it says is checked; the log does not hear the URL."""
    response = {"upload_url": UPLOAD_URL, "file_url": FILE_URL, name: url}

    with pytest.raises(UpstreamFailed) as refused:
        UPLOADS.checked_response(json.dumps(response).encode())

    assert refused.value.reason == f"fal answered an upload with an {name} outside uploads.hosts"


@pytest.mark.parametrize("response", [b"[]", b'"x"', b"{}", b"null"])
def test_an_answer_without_urls_is_none(response: bytes) -> None:
    """An answer must be an object with both URLs."""
    with pytest.raises(UpstreamFailed):
        UPLOADS.checked_response(response)
