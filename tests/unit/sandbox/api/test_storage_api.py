from __future__ import annotations

import pytest
from support.sandbox import KEY, MODEL, QUICK, client, completed, picture_input, png

from proxy.sandbox.app import create_sandbox

INITIATE = "/storage/upload/initiate"
PNG = {"content_type": "image/png", "file_name": "cat.png"}


async def test_an_upload_becomes_an_input() -> None:
    """Initiate, PUT without a key, read it back, and give its URL to the image model."""
    sandbox = create_sandbox(QUICK)
    rest, anyone, queue = client(sandbox.rest), client(sandbox.rest, {}), client(sandbox.queue)

    begun = await rest.post(INITIATE, params={"storage_type": "fal-cdn-v3"}, json=PNG)
    put = await anyone.put(begun.json()["upload_url"], content=png(), headers={"content-type": "image/png"})
    file = await anyone.get(begun.json()["file_url"])
    job = await queue.post(f"/{MODEL}", json=picture_input(image_url=begun.json()["file_url"]))

    assert (begun.status_code, begun.json().keys()) == (200, {"upload_url", "file_url"})
    assert (put.status_code, put.content) == (200, b"")
    assert (file.content, file.headers["content-type"]) == (png(), "image/png")
    assert file.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert "error" not in (await completed(queue, job)).json()


async def test_a_multipart_upload_is_put_together() -> None:
    """As the JavaScript client does it: parts under the path, the query kept, etags by header and body, complete."""
    sandbox = create_sandbox(QUICK)
    anyone = client(sandbox.rest, {})
    begun = (await client(sandbox.rest).post(f"{INITIATE}-multipart", json=PNG)).json()
    path, _, query = begun["upload_url"].partition("?")

    parts = [await anyone.put(f"{path}/{number}?{query}", content=part) for number, part in ((1, b"a"), (2, b"b"))]
    done = await anyone.post(f"{path}/complete?{query}", json={"parts": [part.json() for part in parts]})

    assert [part.json() for part in parts] == [
        {"partNumber": number, "etag": part.headers["etag"]} for number, part in enumerate(parts, 1)
    ]
    assert (done.status_code, done.json()) == (200, {"file_url": begun["file_url"]})
    assert (await anyone.get(begun["file_url"])).content == b"ab"


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
async def test_a_bad_initiate_is_refused(body: object, loc: list[str]) -> None:
    """422 in fal's shape."""
    answer = await client(create_sandbox(QUICK).rest).post(INITIATE, json=body)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, loc)


@pytest.mark.parametrize("path", [INITIATE, f"{INITIATE}-multipart"])
async def test_an_upload_is_begun_with_a_key(path: str) -> None:
    """401 in the rest host's words without one."""
    answer = await client(create_sandbox(QUICK).rest, {}).post(path, json=PNG)

    assert (answer.status_code, answer.json()) == (401, {"detail": "Authorization header is required"})


async def test_a_url_that_was_tampered_with_is_refused() -> None:
    """403 for the file, a part and the completion, and nothing is stored."""
    sandbox = create_sandbox(QUICK)
    rest = client(sandbox.rest)
    begun = (await rest.post(INITIATE, json=PNG)).json()
    path, _, _ = begun["upload_url"].partition("?")

    answers = [
        await rest.put(f"{path}?signature=0", content=b"x"),
        await rest.put(f"{path}/1?signature=0", content=b"x"),
        await rest.post(f"{path}/complete?signature=0", json={"parts": []}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 3
    missing = await rest.get(begun["file_url"])
    assert (missing.status_code, missing.json()) == (404, {"detail": "File not found"})


async def test_the_lifecycle_is_kept_with_the_file() -> None:
    """A file with a lifecycle of no time is wait_disconnect when it is asked for."""
    sandbox = create_sandbox(QUICK)
    rest = client(sandbox.rest, {**KEY, "x-fal-object-lifecycle": '{"expiration_duration_seconds": 0}'})
    begun = (await rest.post(INITIATE, json=PNG)).json()

    await rest.put(begun["upload_url"], content=b"x")

    assert (await rest.get(begun["file_url"])).status_code == 404


async def test_a_browser_may_put_from_any_page() -> None:
    """The preflight of a PUT is answered for every origin, and the answers can be read there."""
    rest = client(create_sandbox(QUICK).rest)
    begun = (await rest.post(INITIATE, json=PNG)).json()
    origin = {"origin": "http://localhost:3000"}

    preflight = await rest.options(
        begun["upload_url"],
        headers={**origin, "access-control-request-method": "PUT", "access-control-request-headers": "content-type"},
    )
    put = await rest.put(begun["upload_url"], content=b"x", headers=origin)

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
