from __future__ import annotations

import pytest

from proxy.sandbox.json_types import JsonObject
from proxy.sandbox.models.input_options import MAX_COUNT, MAX_SECONDS, InputOptions


def options(payload: JsonObject | None = None, *, schema: JsonObject | None = None) -> InputOptions:
    return InputOptions(payload or {}, schema)


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        ({}, (1024, 1024)),
        ({"image_size": "landscape_16_9"}, (1024, 576)),
        ({"image_size": {"width": 640, "height": 480}}, (640, 480)),
        ({"image_size": {"height": 480}}, (512, 480)),
        ({"image_size": "1024x1536"}, (1024, 1536)),
        ({"size": "832*1216"}, (832, 1216)),
        ({"width": 300, "height": 200}, (300, 200)),
        ({"aspect_ratio": "1:1", "resolution": "2K"}, (2048, 2048)),
        ({"aspect_ratio": "16:9", "resolution": "1K"}, (1820, 1024)),
        ({"aspect_ratio": "4:1"}, (2048, 512)),
        ({"image_size": "auto_2K"}, (2048, 2048)),
        ({"image_size": "auto", "aspect_ratio": "auto"}, (1024, 1024)),
        ({"width": 10_000, "height": 5_000}, (4096, 2048)),
    ],
    ids=str,
)
def test_an_image_has_the_size_of_the_input(payload: JsonObject, size: tuple[int, int]) -> None:
    """Names, objects, pairs, sides, resolutions and ratios are understood; sides end at 4096."""
    assert options(payload).image_size(None) == size


def test_an_image_without_a_size_takes_its_sources() -> None:
    """A field wins over the source, the source over the default."""
    assert options().image_size((64, 48)) == (64, 48)
    assert options({"image_size": "square"}).image_size((64, 48)) == (512, 512)


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        ({}, (640, 360)),
        ({"resolution": "720p", "aspect_ratio": "16:9"}, (1280, 720)),
        ({"resolution": "1080p", "aspect_ratio": "9:16"}, (1080, 1920)),
        ({"resolution": "480p"}, (852, 480)),
        ({"resolution": "4k", "aspect_ratio": "16:9"}, (1920, 1080)),
    ],
    ids=str,
)
def test_a_video_has_the_lines_of_the_input(payload: JsonObject, size: tuple[int, int]) -> None:
    """Sides are even and end at 1920."""
    assert options(payload).video_size(None) == size


@pytest.mark.parametrize(
    ("payload", "seconds"),
    [
        ({}, 5.0),
        ({"duration": "10"}, 10.0),
        ({"duration": "8s"}, 8.0),
        ({"duration": 6}, 6.0),
        ({"duration": "auto"}, 5.0),
        ({"num_frames": 81, "frames_per_second": 16}, 81 / 16),
        ({"num_frames": 48}, 2.0),
        ({"duration": 10_000}, MAX_SECONDS),
    ],
    ids=str,
)
def test_a_video_lasts_as_long_as_the_input_says(payload: JsonObject, seconds: float) -> None:
    """Numbers, digits and seconds are understood, else the frames and their rate."""
    assert options(payload).video_seconds() == seconds


@pytest.mark.parametrize(
    ("payload", "seconds"),
    [
        ({}, 3.0),
        ({"text": "x" * 150}, 10.0),
        ({"prompt": "short", "music_length_ms": 12_000}, 12.0),
        ({"seconds_total": 30}, 30.0),
    ],
    ids=str,
)
def test_audio_lasts_as_long_as_its_text(payload: JsonObject, seconds: float) -> None:
    """A field wins; a text is read at 15 characters a second."""
    assert options(payload).audio_seconds() == seconds


@pytest.mark.parametrize(
    ("payload", "count"),
    [({}, 1), ({"num_images": 3}, 3), ({"num_images": "2"}, 2), ({"n": 0}, 1), ({"num_images": 10**6}, MAX_COUNT)],
    ids=str,
)
def test_a_count_names_the_files(payload: JsonObject, count: int) -> None:
    """At least one, at most 64."""
    assert options(payload).count == count


@pytest.mark.parametrize(
    ("payload", "image_format"),
    [
        ({}, None),
        ({"output_format": "jpg"}, "jpeg"),
        ({"format": "PNG"}, "png"),
        ({"output_format": "hex", "audio_setting": {"format": "webp"}}, "webp"),
        ({"output_format": "tiff"}, None),
    ],
    ids=str,
)
def test_a_format_is_one_that_can_be_written(payload: JsonObject, image_format: str | None) -> None:
    """Unknown formats are passed over, nested settings are read."""
    assert options(payload).format(("png", "jpeg", "webp")) == image_format


def test_defaults_of_the_schema_fill_the_payload() -> None:
    """The payload wins; null counts as absent."""
    schema: JsonObject = {"properties": {"num_images": {"default": 4}, "seed": {"default": 7}, "prompt": {}}}

    assert options(schema=schema).count == 4
    assert options({"num_images": 2, "seed": None}, schema=schema).count == 2
    assert options({"seed": None}, schema=schema).seed == 7


def test_scalars_of_the_wrong_type_are_ignored() -> None:
    """A boolean is no seed, a number no prompt, and a strength stays between 0 and 1."""
    assert (options({"seed": True}).seed, options({"prompt": 5}).prompt) == (None, "")
    assert options({"strength": 7}).strength == 1.0
    assert (options({"seed": 5.0}).seed, options({"sync_mode": True}).sync_mode) == (5, True)
