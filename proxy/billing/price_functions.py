"""Functions of price expressions: fal's billing units from the fields of a payload. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from proxy.expressions.functions import Function, kind, number
from proxy.strict_json import Json

# fal docs, image_size.
SIZES: Mapping[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_SIDE = 512.0  # pixels; fal docs, ImageSize: a width or height that is left out
_WIDTH_BY_HEIGHT = re.compile(r"([1-9][0-9]{0,5})[x*]([1-9][0-9]{0,5})")
_SECONDS = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?(?:s|sec|secs|seconds?)?")


def megapixels(size: Json, figure: float | None = None) -> float:
    """Returns the megapixels of *size*: a name of fal's, "1024x1536", or an object with width and height.

    *figure* is returned for every other name ("auto") and for null. Raises ValueError where there is none.
    """
    if isinstance(size, dict):
        return number(size.get("width", _SIDE)) * number(size.get("height", _SIDE)) / 1e6
    if isinstance(size, str):
        if size in SIZES:
            return math.prod(SIZES[size]) / 1e6
        if (match := _WIDTH_BY_HEIGHT.fullmatch(size)) is not None:
            return int(match[1]) * int(match[2]) / 1e6
    if figure is not None and (size is None or isinstance(size, str)):
        return figure
    names = ", ".join(SIZES)
    given = "this name" if isinstance(size, str) else kind(size)
    raise ValueError(
        f'megapixels() takes {names}, "WxH" or an object with width and height, not {given}; '
        "a second argument is the figure for other names, as in megapixels(input.image_size, 1.05)"
    )


def seconds(duration: Json, figure: float | None = None) -> float:
    """Returns the seconds of *duration*: a number, "6" or "6s".

    *figure* is returned for any other text ("auto") and for null. Raises ValueError where there is none.
    """
    if isinstance(duration, str):
        if (match := _SECONDS.fullmatch(duration.strip().lower())) is not None:
            return float(match[1])
    elif duration is not None:
        return number(duration)
    if figure is not None:
        return figure
    raise ValueError(
        f'seconds() takes a number, "6" or "6s", not {kind(duration)}; '
        "a second argument is the figure for other values, as in seconds(input.duration, 8)"
    )


def characters(text: Json) -> float:
    """Returns the characters of a text, or of a list of texts. Raises ValueError."""
    if isinstance(text, str):
        return float(len(text))
    if isinstance(text, list) and all(isinstance(item, str) for item in text):
        return float(sum(len(item) for item in text if isinstance(item, str)))
    raise ValueError(f"characters() takes a text or a list of texts, not {kind(text)}")


def _ceil(value: float) -> float:
    """Returns the next whole number, tolerating the noise of doubles: ceil(0.1 * 3 / 0.1) is 3."""
    return float(math.ceil(round(value, 9))) if math.isfinite(value) else value


def _floor(value: float) -> float:
    return float(math.floor(round(value, 9))) if math.isfinite(value) else value


PRICE_FUNCTIONS = (
    Function("megapixels", ("anything",), megapixels),
    Function("megapixels", ("anything", "number"), megapixels),
    Function("seconds", ("anything",), seconds),
    Function("seconds", ("anything", "number"), seconds),
    Function("characters", ("anything",), characters),
    Function("ceil", ("number",), _ceil),
    Function("floor", ("number",), _floor),
    Function("min", ("number", "number"), min),
    Function("max", ("number", "number"), max),
)
