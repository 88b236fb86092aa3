from __future__ import annotations

import io

import pytest
from PIL import Image, ImageChops, ImageStat
from support.cpu import cost
from support.sandbox import png

from proxy.sandbox.media import images
from proxy.sandbox.media.images import ImageTooLarge, PaintOptions, UnreadableImage, black, decode, encode, repaint

BRUSH = PaintOptions("an island", seed=7, steps=1, strength=0.95)


def distance(one: Image.Image, other: Image.Image) -> float:
    """Returns the mean difference of a channel, 0 to 255, below the label."""
    area = (0, 0, one.width, one.height // 2)
    return sum(ImageStat.Stat(ImageChops.difference(one.crop(area), other.crop(area))).mean) / 3


@pytest.mark.parametrize("media", ["jpeg", "png"])
def test_same_input_same_bytes(media: str) -> None:
    """Equal arguments give the same file, byte for byte."""
    files = {encode(repaint(decode(png()), (96, 64), BRUSH), media) for _ in range(3)}

    assert len(files) == 1
    assert Image.open(io.BytesIO(files.pop())).format == media.upper()


@pytest.mark.parametrize(
    "other",
    [
        PaintOptions("a desert", seed=7, steps=1, strength=0.95),
        PaintOptions("an island", seed=8, steps=1, strength=0.95),
        PaintOptions("an island", seed=7, steps=4, strength=0.95),
        PaintOptions("an island", seed=7, steps=1, strength=0.6),
    ],
    ids=["prompt", "seed", "steps", "strength"],
)
def test_every_parameter_changes_the_picture(other: PaintOptions) -> None:
    """Prompt, seed, steps and strength each change the image."""
    source = decode(png())

    assert distance(repaint(source, (96, 64), BRUSH), repaint(source, (96, 64), other)) > 0.5


def test_strength_is_the_distance_from_the_input() -> None:
    """Strength 0 returns the input except for the label; the difference grows with strength."""
    source = decode(png((96, 64)))
    far = [distance(source, repaint(source, (96, 64), PaintOptions("x", 7, 4, strength / 4))) for strength in range(5)]

    assert far[0] == 0
    assert far == sorted(far)
    assert far[4] > far[1] * 2


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 31), (1024, 576)])
def test_the_size_is_exact(size: tuple[int, int]) -> None:
    """The image has the size of the call for any aspect and any input."""
    assert repaint(decode(png((200, 50))), size, BRUSH).size == size


def test_the_picture_has_a_label() -> None:
    """At strength 0 the label in the lower left corner is the only change to the input."""
    source = decode(png((256, 256)))
    left, top, right, bottom = ImageChops.difference(
        source, repaint(source, (256, 256), PaintOptions("x", 1, 1, 0))
    ).getbbox() or (0, 0, 0, 0)

    assert (left < 16, top > 224, right < 128, bottom > 236) == (True, True, True, True)


def test_the_safety_checker_leaves_black() -> None:
    """The replacement of a refused image is black and has its size."""
    assert (black((8, 4)).size, black((8, 4)).getbbox()) == ((8, 4), None)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_any_mode_of_input_becomes_rgb(mode: str) -> None:
    """Grey, palette, transparent and CMYK images are read."""
    buffer = io.BytesIO()
    Image.new(mode, (20, 10)).save(buffer, "JPEG" if mode == "CMYK" else "PNG")

    assert (decode(buffer.getvalue()).mode, decode(buffer.getvalue()).size) == ("RGB", (20, 10))


def test_the_exif_orientation_is_applied() -> None:
    """EXIF orientation 6 swaps the sides."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(buffer, "JPEG", exif=exif)

    assert decode(buffer.getvalue()).size == (10, 20)


@pytest.mark.parametrize(
    "raw",
    [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", png()[:60], png()[:-40], b"GIF89a" + bytes(40)],
    ids=["empty", "text", "svg", "head only", "cut", "no frames"],
)
def test_other_files_are_unreadable(raw: bytes) -> None:
    """Text, vector images and broken files raise UnreadableImage."""
    with pytest.raises(UnreadableImage):
        decode(raw)


def test_a_decompression_bomb_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image above the pixel limit is refused by its head, one above Pillow's is unreadable."""
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(ImageTooLarge):
        decode(png((64, 48)))

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImage):
        decode(png((64, 48)))


def test_a_full_size_picture_is_quick() -> None:
    """Decoding, painting and encoding 1024x1024 takes at most 250 times the CPU of a short loop."""
    raw = png((1600, 1200))

    assert cost(lambda: encode(repaint(decode(raw), (1024, 1024), BRUSH), "jpeg"), rounds=5) < 250
