"""Audio files: a WAV tone and an MP3 silence of a given length."""

from __future__ import annotations

import io
import math
import wave

SAMPLE_RATE = 8_000
_TABLE_HZ = (220, 262, 294, 330, 392, 440)
# MPEG-1 layer III, 32 kbit/s, 44.1 kHz, mono: 104 bytes with 1152 samples. Zeros after the head decode to silence.
_MP3_FRAME = b"\xff\xfb\x10\xc4" + bytes(100)
MP3_FRAME_SECONDS = 1152 / 44_100


def wav(seconds: float, seed: int) -> bytes:
    """Returns a mono tone of 8 bits at 8 kHz. *seed* selects its pitch."""
    pitch = _TABLE_HZ[seed % len(_TABLE_HZ)]
    # One second holds whole periods, so that it can be repeated without a click.
    second = bytes(
        round(128 + 40 * math.sin(2 * math.pi * pitch * index / SAMPLE_RATE)) for index in range(SAMPLE_RATE)
    )
    samples = max(1, round(seconds * SAMPLE_RATE))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((second * (samples // SAMPLE_RATE + 1))[:samples])
    return buffer.getvalue()


def mp3(seconds: float) -> bytes:
    """Returns silence of *seconds*, to the next whole frame of 26 ms."""
    return _MP3_FRAME * max(1, math.ceil(seconds / MP3_FRAME_SECONDS))
