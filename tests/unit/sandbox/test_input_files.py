from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from support.sandbox import Clock, bound, data_uri, origin, served

from proxy.sandbox.files import FileHost, StoredFile
from proxy.sandbox.input_files import DownloadError, InputFiles, is_loopback


def a_source(*, max_bytes: int = 1000, seconds: float = 5) -> tuple[InputFiles, FileHost]:
    files = FileHost("http://sandbox.test:9002", capacity=10_000, clock=Clock())
    return InputFiles(files, max_bytes=max_bytes, seconds=seconds), files


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1/x", True),
        ("http://127.9.9.9:8000/x?y=1", True),
        ("http://[::1]:8000/x", True),
        ("http://localhost:3000/x", True),
        ("https://127.0.0.1/x", False),
        ("http://user@127.0.0.1/x", False),
        ("http://10.0.0.1/x", False),
        ("http://169.254.169.254/latest", False),
        ("http://[::ffff:10.0.0.1]/x", False),
        ("http://localhost.evil.test/x", False),
        ("http://2130706433/x", False),
        ("http://[oops/x", False),
        ("file:///etc/passwd", False),
        ("//127.0.0.1/x", False),
        ("", False),
    ],
)
def test_only_plain_http_on_loopback_is_loopback(url: str, *, loopback: bool) -> None:
    """The scheme is http, the host a loopback address or `localhost`, and the URL has no user name."""
    assert is_loopback(url) is loopback


@pytest.mark.parametrize(
    ("uri", "content"),
    [(data_uri(b"\x00\xff"), b"\x00\xff"), ("data:text/plain,a%20b", b"a b"), ("data:,", b"")],
    ids=["base64", "percent", "empty"],
)
async def test_a_data_uri_is_decoded(uri: str, content: bytes) -> None:
    """Both encodings of RFC 2397 are read."""
    assert await a_source()[0].read(uri) == content


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/png;base64", "The data URI has no comma"),
        ("data:image/png;base64,a b!", "The data URI is not base64"),
        ("https://fal.media/x.png", "The sandbox reads only data URIs, its own files and http URLs on loopback"),
        ("http://192.168.0.1/x.png", "The sandbox reads only data URIs, its own files and http URLs on loopback"),
        ("http://sandbox.test:9002/files/none", "The sandbox's file host has no such file"),
    ],
)
async def test_an_unreadable_source_has_a_message(url: str, reason: str) -> None:
    """Each error states what a developer has to change."""
    with pytest.raises(DownloadError, match=f"^{reason}$"):
        await a_source()[0].read(url)


async def test_an_own_file_is_read_without_a_connection() -> None:
    """A URL of the sandbox's own file host is read from memory."""
    sources, files = a_source()
    files.put("cat.png", StoredFile(b"cat", "image/png"))

    assert await sources.read(files.url("cat.png")) == b"cat"


async def picture(request: Request) -> Response:
    return Response(b"x" * 1000)


async def too_long(request: Request) -> Response:
    return Response(b"x" * 1001)


async def elsewhere(request: Request) -> Response:
    return RedirectResponse("/picture")


async def endless(request: Request) -> Response:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    return StreamingResponse(drip())


async def test_a_loopback_url_is_downloaded() -> None:
    """A 200 within the limits is read; more bytes, more time, a redirect and an error are refused."""
    routes = [Route(f"/{handler.__name__}", handler) for handler in (picture, too_long, elsewhere, endless)]
    (listener,) = bound()
    async with served({listener: Starlette(routes=routes)}):
        assert len(await a_source()[0].read(f"{origin(listener)}/picture")) == 1000
        for path, seconds, reason in [
            ("too_long", 30.0, "The file is larger than 1000 bytes"),
            ("elsewhere", 30.0, "The URL answered 307"),
            ("missing", 30.0, "The URL answered 404"),
            ("endless", 0.2, "The URL took longer than 0.2 s"),
        ]:
            with pytest.raises(DownloadError, match=f"^{reason}$"):
                await a_source(seconds=seconds)[0].read(f"{origin(listener)}/{path}")


async def test_a_refused_connection_is_a_failed_download() -> None:
    """Without a listener the message has the name of the failure."""
    (listener,) = bound()
    unused = origin(listener)
    listener.close()

    with pytest.raises(DownloadError, match=r"^The URL could not be read: ConnectError$"):
        await a_source()[0].read(f"{unused}/x")
