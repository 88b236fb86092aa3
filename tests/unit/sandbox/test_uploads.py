from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from support.sandbox import Clock

from proxy.sandbox.files import FileHost, StoredFile
from proxy.sandbox.responses import FalError
from proxy.sandbox.uploads import Upload, Uploads

ORIGIN = "http://127.0.0.1:9002"


class Desk:
    """An upload desk with one upload under way."""

    def __init__(self, *, lifecycle: str | None = None) -> None:
        self.clock = Clock()
        self.files = FileHost(ORIGIN, capacity=1000, clock=self.clock)
        self.uploads = Uploads(ORIGIN, self.files, seconds=120, clock=self.clock)
        upload_url, file_url = self.uploads.initiate("image/png", "cat.png", lifecycle)
        parts = urlsplit(upload_url)
        self.name = parts.path.removeprefix("/upload/")
        self.signature = parse_qs(parts.query)["signature"][0]
        self.stored = self.files.parse_url(file_url) or ""

    def upload(self) -> Upload:
        return self.uploads.find(self.name, self.signature)

    def file(self) -> StoredFile | None:
        return self.files.get(self.stored)


def test_a_presigned_url_takes_its_file() -> None:
    """What was PUT is what the file URL gives, under the media type that was announced."""
    desk = Desk()

    desk.uploads.put(desk.upload(), b"meow")

    assert desk.file() == StoredFile(b"meow", "image/png")


def test_a_presigned_url_dies_in_two_minutes() -> None:
    """It works until the last second; then, or with another signature, it is refused alike."""
    desk = Desk()
    with pytest.raises(FalError) as wrong:
        desk.uploads.find(desk.name, "0" * 32)
    with pytest.raises(FalError) as unsigned:
        desk.uploads.find(desk.name, None)

    desk.clock.forward(119)
    assert desk.upload().name == desk.stored
    desk.clock.forward(1)
    with pytest.raises(FalError) as late:
        desk.upload()
    desk.uploads.initiate("image/png", "next.png", None)
    with pytest.raises(FalError) as forgotten:
        desk.upload()

    bodies = [refused.value.body for refused in (wrong, unsigned, late, forgotten)]
    assert wrong.value.status == 403
    assert bodies == [wrong.value.body] * 4


def test_a_lifecycle_ends_the_file() -> None:
    """The file lives as long as its lifecycle says, from the PUT on, and keeps the header it came with."""
    lifecycle = '{"expiration_duration_seconds": 3600}'
    desk = Desk(lifecycle=lifecycle)
    desk.clock.forward(60)
    desk.uploads.put(desk.upload(), b"meow")

    desk.clock.forward(3599)
    assert desk.file() == StoredFile(b"meow", "image/png", desk.clock() + 1, lifecycle)
    desk.clock.forward(1)
    assert desk.file() is None


@pytest.mark.parametrize("lifecycle", ['{"expiration_duration_seconds": null}', "{}", "[]"])
def test_a_lifecycle_without_an_end_keeps_the_file(lifecycle: str) -> None:
    """Null, or nothing said, is for ever."""
    desk = Desk(lifecycle=lifecycle)
    desk.uploads.put(desk.upload(), b"meow")

    assert desk.file() == StoredFile(b"meow", "image/png", None, lifecycle)


def test_a_lifecycle_that_is_no_json_is_refused() -> None:
    """400 when the upload is initiated."""
    with pytest.raises(FalError, match=r"^400: "):
        Desk(lifecycle="for ever")


def test_parts_are_joined_by_number() -> None:
    """Sent in any order and a part twice, the file is the parts in theirs."""
    desk = Desk()
    upload = desk.upload()
    etags = {number: desk.uploads.put_part(upload, number, part) for number, part in [(2, b"b"), (1, b"x"), (1, b"a")]}
    assert desk.file() is None

    desk.uploads.complete(upload, [(2, etags[2]), (1, etags[1])])

    assert desk.file() == StoredFile(b"ab", "image/png")


@pytest.mark.parametrize(
    "claimed",
    [[], [(1, '"0"')], [(2, "etag")], [(1, "etag"), (2, "etag")]],
    ids=["none", "another etag", "another part", "one too many"],
)
def test_completing_with_other_parts_is_refused(claimed: list[tuple[int, str]]) -> None:
    """The list must name just the parts that came."""
    desk = Desk()
    etag = desk.uploads.put_part(desk.upload(), 1, b"a")

    with pytest.raises(FalError, match=r"^400: "):
        desk.uploads.complete(desk.upload(), [(number, etag if tag == "etag" else tag) for number, tag in claimed])
    assert desk.file() is None


@pytest.mark.parametrize("number", [0, 10_001])
def test_part_numbers_have_bounds(number: int) -> None:
    """1 to 10000, as object stores have it."""
    desk = Desk()

    with pytest.raises(FalError, match=r"^400: "):
        desk.uploads.put_part(desk.upload(), number, b"a")


def test_clearing_forgets_open_uploads() -> None:
    """After a clear the URL is refused."""
    desk = Desk()
    desk.uploads.clear()

    with pytest.raises(FalError, match=r"^403: "):
        desk.upload()
