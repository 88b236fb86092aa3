"""Options of a call that shape its answer: prompt, seed, counts, sizes, formats and durations.

Each option is read from the first field of a table that has it, in the payload or as a default of the input schema.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from proxy.sandbox.json_types import Json, JsonObject, as_object

# fal docs, image models: names of sizes.
IMAGE_SIZES: Mapping[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
    "portrait_hd": (720, 1280),
    "landscape_hd": (1280, 720),
}
MAX_SIDE = 4096
MAX_COUNT = 64
MAX_VIDEO_SIDE = 1920
MAX_SECONDS = 300.0
DEFAULT_IMAGE_SIZE = (1024, 1024)
DEFAULT_VIDEO_SIZE = (640, 360)
DEFAULT_VIDEO_SECONDS = 5.0
DEFAULT_AUDIO_SECONDS = 3.0
# A voice reads about 15 characters a second.
CHARACTERS_PER_SECOND = 15

_PROMPT_FIELDS = ("prompt", "text", "input", "instruction", "lyrics", "query", "text_input", "gen_text")
_COUNT_FIELDS = (
    *("num_images", "num_outputs", "num_samples", "num_videos", "num_generations", "number_of_images"),
    *("image_count", "max_images", "batch_size", "num_results", "n"),
)
_SIZE_FIELDS = ("image_size", "size", "output_size", "video_size", "resolution", "target_resolution")
_FORMAT_FIELDS = (
    *("output_format", "format", "image_format", "audio_format", "file_format", "export_format"),
    *("geometry_file_format", "response_format", "audio_setting"),
)
_SECONDS_FIELDS = (
    *("duration", "duration_seconds", "seconds", "num_seconds", "video_length", "audio_length", "seconds_total"),
    *("total_seconds", "target_duration", "audio_duration", "length"),
)
_MILLISECONDS_FIELDS = ("music_length_ms", "duration_ms", "length_ms")
_FRAME_RATE_FIELDS = ("frames_per_second", "fps", "frame_rate", "target_fps")

_PAIR = re.compile(r"\s*(\d+)\s*[xX*]\s*(\d+)\s*")
_RATIO = re.compile(r"\s*(\d+(?:\.\d+)?)\s*:\s*(\d+(?:\.\d+)?)\s*")
_LINES = re.compile(r"\s*(\d{3,4})\s*[pP]\s*")
_KILO = re.compile(r".*?(\d+(?:\.\d+)?)\s*[kK]\s*")
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:s|sec|seconds)?\s*")

Size = tuple[int, int]


class InputOptions:
    """Options in *payload*, completed by the defaults of *schema*."""

    def __init__(self, payload: JsonObject, schema: JsonObject | None) -> None:
        properties = as_object((schema or {}).get("properties"))
        defaults = {name: as_object(field).get("default") for name, field in properties.items()}
        given = {name: value for name, value in payload.items() if value is not None}
        self.fields: JsonObject = {name: value for name, value in {**defaults, **given}.items() if value is not None}

    @property
    def prompt(self) -> str:
        """The text that describes the answer, empty without one."""
        texts = (self.fields.get(name) for name in _PROMPT_FIELDS)
        return next((text for text in texts if isinstance(text, str)), "")

    @property
    def seed(self) -> int | None:
        """The seed, None where the call gives none."""
        seed = self.fields.get("seed")
        return int(seed) if isinstance(seed, int | float) and not isinstance(seed, bool) else None

    @property
    def sync_mode(self) -> bool:
        """True where files are returned as data URIs."""
        return self.fields.get("sync_mode") is True

    @property
    def strength(self) -> float:
        """Distance of an image from its source, 0 to 1."""
        strength = _number(self.fields.get("strength"))
        return 0.7 if strength is None else min(max(strength, 0.0), 1.0)

    @property
    def count(self) -> int:
        """Number of files in a list of files."""
        return min(max(int(self._first_number(_COUNT_FIELDS) or 1), 1), MAX_COUNT)

    def format(self, supported: Sequence[str]) -> str | None:
        """Returns the first of *supported* that a format field names, None without one.

        A `jpg` counts as `jpeg`.
        """
        for name in _FORMAT_FIELDS:
            value = self.fields.get(name)
            value = as_object(value).get("format") if isinstance(value, dict) else value
            if isinstance(value, str):
                word = value.lower().replace("jpg", "jpeg")
                if (match := next((known for known in supported if word.startswith(known)), None)) is not None:
                    return match
        return None

    def image_size(self, source: Size | None) -> Size:
        """Returns the size of an image in pixels.

        *source*: size of the input image, used where no field gives one.
        """
        return _fit(self._size(DEFAULT_IMAGE_SIZE) or source or DEFAULT_IMAGE_SIZE, MAX_SIDE)

    def video_size(self, source: Size | None) -> Size:
        """Returns the size of a video in pixels, with even sides. *source*: as for `image_size`."""
        width, height = _fit(self._size(DEFAULT_VIDEO_SIZE) or source or DEFAULT_VIDEO_SIZE, MAX_VIDEO_SIDE)
        return max(2, width // 2 * 2), max(2, height // 2 * 2)

    def video_seconds(self) -> float:
        """Returns the length of a video in seconds, computed from a number of frames where no field gives it."""
        seconds = self._seconds()
        if seconds is None and (frames := _number(self.fields.get("num_frames"))) is not None:
            seconds = frames / (self._first_number(_FRAME_RATE_FIELDS) or 24)
        return min(seconds or DEFAULT_VIDEO_SECONDS, MAX_SECONDS)

    def audio_seconds(self) -> float:
        """Returns the length of an audio file in seconds, estimated from the text where no field gives it."""
        seconds = self._seconds()
        if seconds is None and self.prompt:
            seconds = max(1.0, len(self.prompt) / CHARACTERS_PER_SECOND)
        return min(seconds or DEFAULT_AUDIO_SECONDS, MAX_SECONDS)

    def _seconds(self) -> float | None:
        seconds = self._first_number(_SECONDS_FIELDS)
        milliseconds = self._first_number(_MILLISECONDS_FIELDS)
        return milliseconds / 1000 if seconds is None and milliseconds is not None else seconds

    def _first_number(self, names: Sequence[str]) -> float | None:
        numbers = (_number(self.fields.get(name)) for name in names)
        return next((number for number in numbers if number is not None and number > 0), None)

    def _size(self, default: Size) -> Size | None:
        """Returns the size in the fields, None without one. An aspect ratio keeps the area or the short side."""
        width, height = _number(self.fields.get("width")), _number(self.fields.get("height"))
        if width and height:
            return int(width), int(height)
        values = [self.fields[name] for name in _SIZE_FIELDS if name in self.fields]
        for value in values:
            if (size := _explicit_size(value)) is not None:
                return size
        side = next((side for side in map(_short_side, values) if side is not None), None)
        ratio = self._aspect_ratio()
        if ratio is None:
            return None if side is None else _with_short_side(default[0] / default[1], side)
        return _with_area(ratio, default) if side is None else _with_short_side(ratio, side)

    def _aspect_ratio(self) -> float | None:
        value = self.fields.get("aspect_ratio")
        match = _RATIO.fullmatch(value) if isinstance(value, str) else None
        return float(match[1]) / float(match[2]) if match and float(match[1]) and float(match[2]) else None


def _explicit_size(value: Json) -> Size | None:
    """Returns the size of a name, of `{"width", "height"}` or of `1024x1536`."""
    if isinstance(value, dict):
        width, height = _number(value.get("width")), _number(value.get("height"))
        return (int(width or 512), int(height or 512)) if width or height else None
    if not isinstance(value, str):
        return None
    if (match := _PAIR.fullmatch(value)) and int(match[1]) and int(match[2]):
        return int(match[1]), int(match[2])
    return IMAGE_SIZES.get(value)


def _short_side(value: Json) -> int | None:
    """Returns the pixels of the short side: 720 for `720p`, 2048 for `2K`."""
    if not isinstance(value, str):
        return None
    if match := _LINES.fullmatch(value):
        return int(match[1])
    return round(float(match[1]) * 1024) if (match := _KILO.fullmatch(value)) else None


def _with_short_side(ratio: float, side: int) -> Size:
    return (round(side * ratio), side) if ratio >= 1 else (side, round(side / ratio))


def _with_area(ratio: float, size: Size) -> Size:
    """Returns sides of *ratio* with about the area of *size*, in multiples of eight."""
    width = math.sqrt(size[0] * size[1] * ratio)
    return max(8, round(width / 8) * 8), max(8, round(width / ratio / 8) * 8)


def _fit(size: Size, limit: int) -> Size:
    """Returns *size*, scaled down where a side is longer than *limit*."""
    scale = min(1.0, limit / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _number(value: Json) -> float | None:
    """Returns a number, or the number in a text such as `5` or `8s`."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) if match else None
