from __future__ import annotations

import io
import wave

import pytest

from proxy.sandbox.media.audio import MP3_FRAME_SECONDS, SAMPLE_RATE, mp3, wav


@pytest.mark.parametrize("seconds", [0.001, 0.5, 1.0, 2.25])
def test_a_wav_file_has_the_length_that_was_asked_for(seconds: float) -> None:
    """The stdlib reads the file as mono, and its frames are the seconds times the rate."""
    with wave.open(io.BytesIO(wav(seconds, 0))) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, SAMPLE_RATE)
        assert file.getnframes() == max(1, round(seconds * SAMPLE_RATE))
        assert len(set(file.readframes(file.getnframes()))) > 1


def test_the_seed_selects_the_pitch() -> None:
    """The same seed gives the same bytes, another seed gives others."""
    assert wav(1, 3) == wav(1, 3)
    assert wav(1, 3) != wav(1, 4)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 10.0])
def test_an_mp3_file_is_a_row_of_whole_frames(seconds: float) -> None:
    """Every frame starts with the sync word of MPEG-1 layer III and lasts 26 ms."""
    content = mp3(seconds)
    frames = [content[start : start + 104] for start in range(0, len(content), 104)]

    assert {frame[:4] for frame in frames} == {b"\xff\xfb\x10\xc4"}
    assert {len(frame) for frame in frames} == {104}
    assert 0 <= len(frames) * MP3_FRAME_SECONDS - seconds <= MP3_FRAME_SECONDS
