"""The image model's stand-in: Pillow repaints the input. Same input, prompt, seed and steps: same bytes."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

MAX_PIXELS = 50_000_000
_READ = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_GRID = 4
LABEL = "sandbox"


class UnreadablePicture(Exception):
    pass


class PictureTooLarge(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Brush:
    """*strength* 0 keeps the input, 1 leaves only the paint; more *steps* keep finer detail in the paint."""

    prompt: str
    seed: int
    steps: int
    strength: float


def decode(raw: bytes) -> Image.Image:
    """Raises UnreadablePicture, or PictureTooLarge before a bomb is unpacked."""
    try:
        picture = Image.open(io.BytesIO(raw), formats=_READ)
    except (OSError, ValueError, Image.DecompressionBombError) as exc:
        raise UnreadablePicture from exc
    if picture.width * picture.height > MAX_PIXELS:
        raise PictureTooLarge
    try:
        return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError, SyntaxError) as exc:
        raise UnreadablePicture from exc


def repaint(source: Image.Image, size: tuple[int, int], brush: Brush) -> Image.Image:
    """Toned strokes over the picture, in colours drawn from prompt and seed."""
    base = ImageOps.fit(source, size, Image.Resampling.BICUBIC)
    grain = max(1, 16 // brush.steps)
    coarse = base.resize((max(1, size[0] // grain), max(1, size[1] // grain)), Image.Resampling.BOX)
    strokes = ImageOps.posterize(ImageOps.autocontrast(coarse.convert("L")), 4)
    paint = hashlib.shake_128(f"{brush.prompt}\0{brush.seed}".encode()).digest(3 + _GRID * _GRID * 3)
    dark, middle, light = _palette(*paint[:3])
    toned = ImageOps.colorize(strokes, dark, light, middle)
    wash = Image.frombytes("RGB", (_GRID, _GRID), paint[3:]).resize(toned.size, Image.Resampling.BICUBIC)
    painted = ImageChops.soft_light(toned, wash).resize(size, Image.Resampling.BICUBIC)
    return _labelled(Image.blend(base, painted, brush.strength))


def blackout(size: tuple[int, int]) -> Image.Image:
    """What the safety checker leaves of a picture."""
    return Image.new("RGB", size)


def encode(picture: Image.Image, media: str) -> bytes:
    """*media* is `jpeg` or `png`."""
    buffer = io.BytesIO()
    if media == "png":
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _palette(hue: int, turn: int, glow: int) -> tuple[str, str, str]:
    """Colours for shadows, middle tones and lights, each a byte's choice."""
    middle = (hue + 20 + turn // 4) % 256
    light = (hue + 96 + glow // 4) % 256
    return _hsv(hue, 80, 22), _hsv(middle, 60, 68), _hsv(light, 25, 100)


def _hsv(hue: int, saturation: int, value: int) -> str:
    return f"hsv({hue * 360 // 256}, {saturation}%, {value}%)"


def _labelled(picture: Image.Image) -> Image.Image:
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
