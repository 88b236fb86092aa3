from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from support.sandbox import Clock

from proxy.sandbox.files import FileHost, StoredFile
from proxy.sandbox.responses import FalError
from proxy.sandbox.uploads import Upload, Uploads

ORIGIN = "http://127.0.0.1:9002"


class OneUpload:
    """Uploads with one of them open."""

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


def test_a_presigned_url_stores_its_file() -> None:
    """The file URL returns the content of the PUT with the media type of the initiate."""
    desk = OneUpload()

    desk.uploads.put(desk.upload(), b"meow")

    assert desk.file() == StoredFile(b"meow", "image/png")


def test_a_presigned_url_expires_in_two_minutes() -> None:
    """A presigned URL is valid until its last second, and then refused like a wrong signature."""
    desk = OneUpload()
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
    """The file exists for the time of its lifecycle after the PUT, and keeps the header."""
    lifecycle = '{"expiration_duration_seconds": 3600}'
    desk = OneUpload(lifecycle=lifecycle)
    desk.clock.forward(60)
    desk.uploads.put(desk.upload(), b"meow")

    desk.clock.forward(3599)
    assert desk.file() == StoredFile(b"meow", "image/png", desk.clock() + 1, lifecycle)
    desk.clock.forward(1)
    assert desk.file() is None


@pytest.mark.parametrize("lifecycle", ['{"expiration_duration_seconds": null}', "{}", "[]"])
def test_a_lifecycle_without_an_end_keeps_the_file(lifecycle: str) -> None:
    """A lifecycle of null or without a duration has no end."""
    desk = OneUpload(lifecycle=lifecycle)
    desk.uploads.put(desk.upload(), b"meow")

    assert desk.file() == StoredFile(b"meow", "image/png", None, lifecycle)


def test_a_malformed_lifecycle_is_refused() -> None:
    """A malformed lifecycle is 400 at the initiate."""
    with pytest.raises(FalError, match=r"^400: "):
        OneUpload(lifecycle="for ever")


def test_parts_are_joined_by_number() -> None:
    """Parts in any order, one of them twice, are joined in the order of their numbers."""
    desk = OneUpload()
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
    """The list must have exactly the uploaded parts."""
    desk = OneUpload()
    etag = desk.uploads.put_part(desk.upload(), 1, b"a")

    with pytest.raises(FalError, match=r"^400: "):
        desk.uploads.complete(desk.upload(), [(number, etag if tag == "etag" else tag) for number, tag in claimed])
    assert desk.file() is None


@pytest.mark.parametrize("number", [0, 10_001])
def test_part_numbers_have_bounds(number: int) -> None:
    """Part numbers go from 1 to 10000, as in object stores."""
    desk = OneUpload()

    with pytest.raises(FalError, match=r"^400: "):
        desk.uploads.put_part(desk.upload(), number, b"a")


def test_clearing_invalidates_open_uploads() -> None:
    """After a clear the URL is refused."""
    desk = OneUpload()
    desk.uploads.clear()

    with pytest.raises(FalError, match=r"^403: "):
        desk.upload()
