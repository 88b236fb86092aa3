"""Model of fal-ai/hyper-sdxl/image-to-image as its API page describes it, painted by Pillow."""

from __future__ import annotations

import asyncio
import base64
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from proxy.sandbox.files import FileHost, StoredFile
from proxy.sandbox.input_files import DownloadError, InputFiles
from proxy.sandbox.media.images import (
    MAX_PIXELS,
    ImageTooLarge,
    PaintOptions,
    UnreadableImage,
    black,
    decode,
    encode,
    repaint,
)
from proxy.sandbox.models.output import Output
from proxy.sandbox.responses import field_error
from proxy.sandbox.validation import validate

PRESETS: Mapping[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
# One billable unit is one image of 1024x1024.
UNIT_PIXELS = 1024 * 1024
NSFW_WORD = "nsfw"


class ImageSize(BaseModel):
    """Size in pixels. fal's limit is 14142; the sandbox's is lower for a laptop's sake."""

    width: int = Field(default=512, gt=0, le=4096, strict=True)
    height: int = Field(default=512, gt=0, le=4096, strict=True)


class Embedding(BaseModel):
    """Reference to an embedding. The sandbox does not load it."""

    path: str
    tokens: list[str] = ["<s0>", "<s1>"]


def _as_text(value: object) -> object:
    # The page lists the enum as "1" but its example has 1.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Input(BaseModel):
    """Input of the model.

    The page gives `strength` and `num_images` no range; these are those of sibling models.
    """

    image_url: str
    prompt: str
    image_size: Literal[tuple(PRESETS)] | ImageSize = "square_hd"  # type: ignore[valid-type]
    num_inference_steps: Annotated[Literal["1", "2", "4"], BeforeValidator(_as_text)] = "1"
    strength: float = Field(default=0.95, ge=0.0, le=1.0, strict=True)
    seed: int | None = Field(default=None, strict=True)
    sync_mode: bool = Field(default=False, strict=True)
    num_images: int = Field(default=1, ge=1, le=8, strict=True)
    embeddings: list[Embedding] = []
    enable_safety_checker: bool = Field(default=True, strict=True)
    expand_prompt: bool = Field(default=False, strict=True)
    format: Literal["jpeg", "png"] = "jpeg"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        if isinstance(self.image_size, ImageSize):
            return self.image_size.width, self.image_size.height
        return PRESETS[self.image_size]

    @property
    def units(self) -> float:
        """Billable units: images times their share of 1024x1024, rounded up to four places."""
        width, height = self.size
        return math.ceil(self.num_images * width * height / UNIT_PIXELS * 10_000) / 10_000


class ImageToImage:
    """The model. It reads one image and stores the repainted ones on the file host."""

    def __init__(self, input_files: InputFiles, files: FileHost) -> None:
        self._input_files = input_files
        self._files = files

    def check(self, payload: object) -> None:
        """Raises FalError 422 for an invalid input."""
        validate(Input, payload)

    def log_messages(self, payload: object) -> Sequence[str]:
        """Returns a line for each inference step, between reading and encoding."""
        steps = payload.get("num_inference_steps", 1) if isinstance(payload, dict) else 1
        count = int(steps) if str(steps) in {"1", "2", "4"} else 1
        return ["Reading the input picture", *(f"Step {step + 1} of {count}" for step in range(count)), "Encoding"]

    async def run(self, payload: object) -> Output:
        """Returns the images. Raises FalError 422 in the shape of the model's own errors."""
        options = validate(Input, payload)
        source = await self._read(options.image_url)
        # Below 2**53, so that a JavaScript client can send it back unchanged.
        seed = secrets.randbelow(2**32) if options.seed is None else options.seed
        nsfw = options.enable_safety_checker and NSFW_WORD in options.prompt.lower()
        start = time.perf_counter()
        try:
            pictures = await asyncio.to_thread(paint, source, options, seed, nsfw=nsfw)
        except UnreadableImage as exc:
            raise field_error("image_url", "image_load_error", "Failed to load the image") from exc
        except ImageTooLarge as exc:
            raise field_error("image_url", "image_too_large", f"More than {MAX_PIXELS} pixels") from exc
        body = {
            "images": [self._publish(picture, options) for picture in pictures],
            "timings": {"inference": round(time.perf_counter() - start, 4)},
            "seed": seed,
            "has_nsfw_concepts": [nsfw] * options.num_images,
            "prompt": options.prompt,
        }
        return Output(body, units=options.units)

    async def _read(self, url: str) -> bytes:
        try:
            return await self._input_files.read(url)
        except DownloadError as exc:
            raise field_error("image_url", "file_download_error", str(exc)) from exc

    def _publish(self, picture: bytes, options: Input) -> dict[str, object]:
        media = f"image/{options.format}"
        if options.sync_mode:
            url = f"data:{media};base64,{base64.b64encode(picture).decode('ascii')}"
        else:
            name = self._files.new_name(f"out.{options.format}")
            self._files.put(name, StoredFile(picture, media))
            url = self._files.url(name)
        width, height = options.size
        return {"url": url, "width": width, "height": height, "content_type": media}


def paint(raw: bytes, options: Input, seed: int, *, nsfw: bool) -> list[bytes]:
    """Returns the encoded images of one call. Raises UnreadableImage or ImageTooLarge."""
    source = decode(raw)
    pictures = []
    for number in range(options.num_images):
        painting = PaintOptions(options.prompt, seed + number, int(options.num_inference_steps), options.strength)
        picture = black(options.size) if nsfw else repaint(source, options.size, painting)
        pictures.append(encode(picture, options.format))
    return pictures
