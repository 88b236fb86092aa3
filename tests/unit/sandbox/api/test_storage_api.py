from __future__ import annotations

import pytest
from support.sandbox import KEY, MODEL, QUICK, client, completed, picture_input, png

from proxy.sandbox.app import create_sandbox

INITIATE = "/storage/upload/initiate"
PNG = {"content_type": "image/png", "file_name": "cat.png"}


async def test_an_upload_becomes_an_input() -> None:
    """A file that was initiated and PUT without a key can be read back and given to the image model."""
    sandbox = create_sandbox(QUICK)
    rest, anonymous, queue = client(sandbox.rest), client(sandbox.rest, {}), client(sandbox.queue)

    upload = await rest.post(INITIATE, params={"storage_type": "fal-cdn-v3"}, json=PNG)
    put = await anonymous.put(upload.json()["upload_url"], content=png(), headers={"content-type": "image/png"})
    file = await anonymous.get(upload.json()["file_url"])
    job = await queue.post(f"/{MODEL}", json=picture_input(image_url=upload.json()["file_url"]))

    assert (upload.status_code, upload.json().keys()) == (200, {"upload_url", "file_url"})
    assert (put.status_code, put.content) == (200, b"")
    assert (file.content, file.headers["content-type"]) == (png(), "image/png")
    assert file.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert "error" not in (await completed(queue, job)).json()


async def test_a_multipart_upload_is_joined() -> None:
    """Parts, sent as the JavaScript client does, return etags and are joined to one file."""
    sandbox = create_sandbox(QUICK)
    anonymous = client(sandbox.rest, {})
    upload = (await client(sandbox.rest).post(f"{INITIATE}-multipart", json=PNG)).json()
    path, _, query = upload["upload_url"].partition("?")

    parts = [await anonymous.put(f"{path}/{number}?{query}", content=part) for number, part in ((1, b"a"), (2, b"b"))]
    done = await anonymous.post(f"{path}/complete?{query}", json={"parts": [part.json() for part in parts]})

    assert [part.json() for part in parts] == [
        {"partNumber": number, "etag": part.headers["etag"]} for number, part in enumerate(parts, 1)
    ]
    assert (done.status_code, done.json()) == (200, {"file_url": upload["file_url"]})
    assert (await anonymous.get(upload["file_url"])).content == b"ab"


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "content_type"]),
        ({"content_type": "image/png"}, ["body", "file_name"]),
        ({"content_type": "image/png\r\nx: y", "file_name": "x"}, ["body", "content_type"]),
        ({"content_type": "picture", "file_name": "x"}, ["body", "content_type"]),
        ({"content_type": "image/png", "file_name": ""}, ["body", "file_name"]),
        ([], ["body"]),
    ],
    ids=str,
)
async def test_a_malformed_initiate_is_refused(body: object, loc: list[str]) -> None:
    """A malformed initiate is 422 in fal's shape."""
    answer = await client(create_sandbox(QUICK).rest).post(INITIATE, json=body)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, loc)


@pytest.mark.parametrize("path", [INITIATE, f"{INITIATE}-multipart"])
async def test_an_initiate_requires_a_key(path: str) -> None:
    """Without a key an initiate is 401 in the rest host's words."""
    answer = await client(create_sandbox(QUICK).rest, {}).post(path, json=PNG)

    assert (answer.status_code, answer.json()) == (401, {"detail": "Authorization header is required"})


async def test_a_forged_upload_url_is_refused() -> None:
    """A wrong signature is 403 for the file, a part and the completion, and nothing is stored."""
    sandbox = create_sandbox(QUICK)
    rest = client(sandbox.rest)
    upload = (await rest.post(INITIATE, json=PNG)).json()
    path, _, _ = upload["upload_url"].partition("?")

    answers = [
        await rest.put(f"{path}?signature=0", content=b"x"),
        await rest.put(f"{path}/1?signature=0", content=b"x"),
        await rest.post(f"{path}/complete?signature=0", json={"parts": []}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 3
    missing = await rest.get(upload["file_url"])
    assert (missing.status_code, missing.json()) == (404, {"detail": "File not found"})


async def test_a_lifecycle_of_no_time_ends_the_file_at_once() -> None:
    """A file whose lifecycle lasts no time is gone at the first read."""
    sandbox = create_sandbox(QUICK)
    rest = client(sandbox.rest, {**KEY, "x-fal-object-lifecycle": '{"expiration_duration_seconds": 0}'})
    upload = (await rest.post(INITIATE, json=PNG)).json()

    await rest.put(upload["upload_url"], content=b"x")

    assert (await rest.get(upload["file_url"])).status_code == 404


async def test_a_browser_may_put_from_any_page() -> None:
    """The preflight of a PUT is answered for every origin, and pages can read the answers."""
    rest = client(create_sandbox(QUICK).rest)
    upload = (await rest.post(INITIATE, json=PNG)).json()
    origin = {"origin": "http://localhost:3000"}

    preflight = await rest.options(
        upload["upload_url"],
        headers={**origin, "access-control-request-method": "PUT", "access-control-request-headers": "content-type"},
    )
    put = await rest.put(upload["upload_url"], content=b"x", headers=origin)

    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "*")
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert put.headers["access-control-allow-origin"] == "*"
    assert "etag" in put.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("header", "status", "content", "content_range"),
    [
        ("", 200, b"0123456789", None),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
async def test_a_file_is_read_in_ranges(header: str, status: int, content: bytes, content_range: str | None) -> None:
    """One range is answered with its bytes, an empty one with 416, and anything else with the whole file."""
    rest = client(create_sandbox(QUICK).rest)
    upload = (await rest.post(INITIATE, json=PNG)).json()
    await rest.put(upload["upload_url"], content=b"0123456789")

    answer = await rest.get(upload["file_url"], headers={"range": header} if header else {})

    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers.get("content-range") == content_range
    assert answer.headers["accept-ranges"] == "bytes"
