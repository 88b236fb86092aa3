"""WebM files with VP8 video.

Pillow encodes the frames: the data of a lossy WebP file is one VP8 key frame (RFC 9649).
Container: Matroska (RFC 9559) in the subset of the WebM guidelines, one cluster a frame, with cues for seeking.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from PIL import Image

FRAMES_PER_SECOND = 2
_FRAME_MILLISECONDS = 1000 // FRAMES_PER_SECOND

# Element ids (RFC 9559, section 5).
_EBML, _SEGMENT, _INFO, _TRACKS, _CLUSTER, _CUES = (
    0x1A45DFA3,
    0x18538067,
    0x1549A966,
    0x1654AE6B,
    0x1F43B675,
    0x1C53BB6B,
)
_TIMESTAMP_SCALE, _DURATION, _MUXING_APP, _WRITING_APP = 0x2AD7B1, 0x4489, 0x4D80, 0x5741
_TRACK_ENTRY, _TRACK_NUMBER, _TRACK_UID, _TRACK_TYPE, _CODEC_ID = 0xAE, 0xD7, 0x73C5, 0x83, 0x86
_DEFAULT_DURATION, _VIDEO, _PIXEL_WIDTH, _PIXEL_HEIGHT = 0x23E383, 0xE0, 0xB0, 0xBA
_TIMESTAMP, _SIMPLE_BLOCK = 0xE7, 0xA3
_CUE_POINT, _CUE_TIME, _CUE_POSITIONS, _CUE_TRACK, _CUE_CLUSTER = 0xBB, 0xB3, 0xB7, 0xF7, 0xF1


def vp8_frame(picture: Image.Image) -> bytes:
    """Returns *picture* as one VP8 key frame."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "WEBP", quality=40, method=0)
    riff = buffer.getvalue()
    position = 12
    while position < len(riff):
        name, size = riff[position : position + 4], int.from_bytes(riff[position + 4 : position + 8], "little")
        if name == b"VP8 ":
            return riff[position + 8 : position + 8 + size]
        position += 8 + size + size % 2
    raise ValueError("Pillow wrote no lossy WebP")


def frame_count(seconds: float) -> int:
    """Returns the number of frames in a video of *seconds*, at least one."""
    return max(1, round(seconds * FRAMES_PER_SECOND))


def webm(frames: Sequence[bytes], size: tuple[int, int], seconds: float) -> bytes:
    """Returns a video of *seconds* that repeats *frames*, VP8 key frames of *size*, in turn."""
    count = frame_count(seconds)
    head = _head(size, count * _FRAME_MILLISECONDS)
    clusters, cues = bytearray(), []
    for index in range(count):
        time = index * _FRAME_MILLISECONDS
        cues.append(_cue(time, len(head) + len(clusters)))
        # Track 1, no offset from the cluster's time, key frame.
        block = b"\x81\x00\x00\x80" + frames[index % len(frames)]
        clusters += _element(_CLUSTER, _integer(_TIMESTAMP, time) + _element(_SIMPLE_BLOCK, block))
    return _ebml_header() + _element(_SEGMENT, head + bytes(clusters) + _element(_CUES, b"".join(cues)))


def _ebml_header() -> bytes:
    fields = [(0x4286, 1), (0x42F7, 1), (0x42F2, 4), (0x42F3, 8), (0x4287, 2), (0x4285, 2)]
    return _element(_EBML, b"".join(_integer(name, value) for name, value in fields) + _element(0x4282, b"webm"))


def _head(size: tuple[int, int], milliseconds: int) -> bytes:
    """Returns the segment's information and its one track. Timestamps count milliseconds."""
    info = _integer(_TIMESTAMP_SCALE, 1_000_000) + _element(_DURATION, struct.pack(">d", milliseconds))
    info += _element(_MUXING_APP, b"fal-proxy sandbox") + _element(_WRITING_APP, b"fal-proxy sandbox")
    video = _integer(_PIXEL_WIDTH, size[0]) + _integer(_PIXEL_HEIGHT, size[1])
    track = _integer(_TRACK_NUMBER, 1) + _integer(_TRACK_UID, 1) + _integer(_TRACK_TYPE, 1)
    track += _element(_CODEC_ID, b"V_VP8") + _integer(_DEFAULT_DURATION, _FRAME_MILLISECONDS * 1_000_000)
    return _element(_INFO, info) + _element(_TRACKS, _element(_TRACK_ENTRY, track + _element(_VIDEO, video)))


def _cue(milliseconds: int, position: int) -> bytes:
    positions = _integer(_CUE_TRACK, 1) + _integer(_CUE_CLUSTER, position)
    return _element(_CUE_POINT, _integer(_CUE_TIME, milliseconds) + _element(_CUE_POSITIONS, positions))


def _integer(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _element(name: int, content: bytes) -> bytes:
    # The size always takes eight bytes: the marker bit, then 56 bits (RFC 8794, section 4).
    size = (len(content) | 1 << 56).to_bytes(8, "big")
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + size + content
