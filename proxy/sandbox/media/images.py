"""Images: Pillow repaints an input. The same input, prompt, seed and steps give the same bytes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

MAX_PIXELS = 50_000_000
_INPUT_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_GRID = 4
LABEL = "sandbox"
_ENCODER_OPTIONS: Mapping[str, Mapping[str, int]] = {
    "jpeg": {"quality": 90},
    "png": {"compress_level": 1},
    "webp": {"quality": 80, "method": 0},
    "gif": {},
}


class UnreadableImage(Exception):
    """Bytes that are no image of a supported format."""


class ImageTooLarge(Exception):
    """An image of more than MAX_PIXELS pixels."""


@dataclass(frozen=True, slots=True)
class PaintOptions:
    """Parameters of `repaint`.

    *strength*: 0 keeps the input, 1 replaces it. More *steps* keep finer detail.
    """

    prompt: str
    seed: int
    steps: int
    strength: float


def decode(raw: bytes) -> Image.Image:
    """Returns the image in RGB. Raises UnreadableImage, or ImageTooLarge before the pixels are decoded."""
    try:
        picture = Image.open(io.BytesIO(raw), formats=_INPUT_FORMATS)
    except (OSError, ValueError, Image.DecompressionBombError) as exc:
        raise UnreadableImage from exc
    if picture.width * picture.height > MAX_PIXELS:
        raise ImageTooLarge
    try:
        return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, SyntaxError) as exc:
        raise UnreadableImage from exc


def repaint(source: Image.Image, size: tuple[int, int], options: PaintOptions) -> Image.Image:
    """Returns *source* in *size* with coarse tones in colours that depend on prompt and seed."""
    base = ImageOps.fit(source, size, Image.Resampling.BICUBIC)
    grain = max(1, 16 // options.steps)
    coarse = base.resize((max(1, size[0] // grain), max(1, size[1] // grain)), Image.Resampling.BOX)
    tones = ImageOps.posterize(ImageOps.autocontrast(coarse.convert("L")), 4)
    random_bytes = _hash_bytes(options.prompt, options.seed)
    dark, middle, light = _palette(*random_bytes[:3])
    toned = ImageOps.colorize(tones, dark, light, middle)
    wash = Image.frombytes("RGB", (_GRID, _GRID), random_bytes[3:]).resize(toned.size, Image.Resampling.BICUBIC)
    painted = ImageChops.soft_light(toned, wash).resize(size, Image.Resampling.BICUBIC)
    return _with_label(Image.blend(base, painted, options.strength))


def black(size: tuple[int, int]) -> Image.Image:
    """Returns the black image that replaces one the safety checker refused."""
    return Image.new("RGB", size)


def encode(picture: Image.Image, media: str) -> bytes:
    """Returns the file. *media*: `jpeg`, `png`, `webp` or `gif`."""
    buffer = io.BytesIO()
    picture.save(buffer, media.upper(), **_ENCODER_OPTIONS[media])
    return buffer.getvalue()


def _hash_bytes(prompt: str, seed: int) -> bytes:
    return hashlib.shake_128(f"{prompt}\0{seed}".encode()).digest(3 + _GRID * _GRID * 3)


def _palette(hue: int, turn: int, glow: int) -> tuple[str, str, str]:
    """Returns colours for shadows, middle tones and lights. Each argument is a byte."""
    middle = (hue + 20 + turn // 4) % 256
    light = (hue + 96 + glow // 4) % 256
    return _hsv(hue, 80, 22), _hsv(middle, 60, 68), _hsv(light, 25, 100)


def _hsv(hue: int, saturation: int, value: int) -> str:
    return f"hsv({hue * 360 // 256}, {saturation}%, {value}%)"


def _with_label(picture: Image.Image) -> Image.Image:
    size = max(8, picture.height // 32)
    draw = ImageDraw.Draw(picture)
    draw.text(
        (size // 2, picture.height - size * 3 // 2),
        LABEL,
        fill="white",
        font=ImageFont.load_default(size),
        stroke_width=1,
        stroke_fill="black",
    )
    return picture
