from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import pytest
from PIL import Image

from proxy.sandbox.media import video

MASTERS = {0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0xAE, 0xE0, 0xBB, 0xB7}
Element = tuple[int, bytes, int]


def elements(content: bytes, start: int = 0) -> Iterator[Element]:
    """Yields id, content and position of each EBML element in depth-first order (RFC 8794)."""
    position = 0
    while position < len(content):
        width = 9 - content[position].bit_length()
        name = int.from_bytes(content[position : position + width], "big")
        size = int.from_bytes(content[position + width : position + width + 8], "big") & ~(1 << 56)
        body = content[position + width + 8 : position + width + 8 + size]
        assert len(body) == size
        yield name, body, start + position
        if name in MASTERS:
            yield from elements(body, start + position + width + 8)
        position += width + 8 + size


def integers(content: bytes, name: int) -> list[int]:
    return [int.from_bytes(body, "big") for element, body, _ in elements(content) if element == name]


def frame(size: tuple[int, int] = (64, 48)) -> bytes:
    return video.vp8_frame(Image.radial_gradient("L").convert("RGB").resize(size))


def test_a_frame_is_a_vp8_key_frame_of_the_size() -> None:
    """RFC 6386, section 9.1: a clear lowest bit, the start code, then width and height."""
    content = frame((64, 48))

    assert content[0] & 1 == 0
    assert content[3:6] == b"\x9d\x01\x2a"
    assert struct.unpack("<HH", content[6:10]) == (64, 48)


@pytest.mark.parametrize(("seconds", "count"), [(0.1, 1), (1, 2), (5, 10), (8.5, 17)])
def test_a_video_has_frames_for_its_length(seconds: float, count: int) -> None:
    """Blocks follow each other every half second; the duration is theirs; size and codec are the track's."""
    content = video.webm([frame()], (64, 48), seconds)

    blocks = [body for name, body, _ in elements(content) if name == 0xA3]
    (duration,) = [struct.unpack(">d", body)[0] for name, body, _ in elements(content) if name == 0x4489]
    (codec,) = [body for name, body, _ in elements(content) if name == 0x86]
    assert len(blocks) == video.frame_count(seconds) == count
    assert duration == count * 500
    assert integers(content, 0xE7) == [index * 500 for index in range(count)]
    assert (integers(content, 0xB0), integers(content, 0xBA), codec) == ([64], [48], b"V_VP8")


def test_frames_repeat_in_turn() -> None:
    """A long video reuses its frames in order."""
    first, second = frame((64, 48)), video.vp8_frame(Image.new("RGB", (64, 48), "red"))
    blocks = [body[4:] for name, body, _ in elements(video.webm([first, second], (64, 48), 2)) if name == 0xA3]

    assert blocks == [first, second, first, second]


def test_cues_lead_to_the_clusters() -> None:
    """Each cue has a cluster's position in the segment, so that a player can seek."""
    content = video.webm([frame()], (64, 48), 2)

    (segment,) = [body for name, body, _ in elements(content) if name == 0x18538067]
    clusters = [position for name, _, position in elements(segment) if name == 0x1F43B675]
    assert integers(content, 0xF1) == clusters
    assert integers(content, 0xB3) == [0, 500, 1000, 1500]


def test_pillow_without_lossy_webp_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without a VP8 chunk raises instead of giving a broken video."""

    def save(self: Image.Image, target: io.BytesIO, *_: object, **__: object) -> None:
        target.write(b"RIFF\x10\0\0\0WEBPVP8L\x04\0\0\0abcd")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(ValueError, match="no lossy WebP"):
        frame()
