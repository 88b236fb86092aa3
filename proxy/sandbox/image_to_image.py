"""fal-ai/hyper-sdxl/image-to-image, as its API page describes it, with Pillow in the model's place."""

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
from proxy.sandbox.output import Output
from proxy.sandbox.pictures import (
    MAX_PIXELS,
    Brush,
    PictureTooLarge,
    UnreadablePicture,
    blackout,
    decode,
    encode,
    repaint,
)
from proxy.sandbox.replies import field_error
from proxy.sandbox.sources import DownloadFailed, Sources
from proxy.sandbox.validation import validated

PRESETS: Mapping[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
# One billable unit is one 1024x1024 picture.
UNIT_PIXELS = 1024 * 1024
NSFW_WORD = "nsfw"


class ImageSize(BaseModel):
    # The model's own ceiling is 14142; a laptop's is lower.
    width: int = Field(default=512, gt=0, le=4096, strict=True)
    height: int = Field(default=512, gt=0, le=4096, strict=True)


class Embedding(BaseModel):
    path: str
    tokens: list[str] = ["<s0>", "<s1>"]


def _as_text(value: object) -> object:
    # The page lists the enum as "1" but sends 1 in its example.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Input(BaseModel):
    """The page gives `strength` and `num_images` no range; these are those of the sibling models."""

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
        if isinstance(self.image_size, ImageSize):
            return self.image_size.width, self.image_size.height
        return PRESETS[self.image_size]

    @property
    def units(self) -> float:
        """Billable units: pictures times their share of 1024x1024, rounded up to four places."""
        width, height = self.size
        return math.ceil(self.num_images * width * height / UNIT_PIXELS * 10_000) / 10_000


class ImageToImage:
    def __init__(self, sources: Sources, files: FileHost) -> None:
        self._sources = sources
        self._files = files

    def check(self, payload: object) -> None:
        validated(Input, payload)

    def script(self, payload: object) -> Sequence[str]:
        steps = payload.get("num_inference_steps", 1) if isinstance(payload, dict) else 1
        count = int(steps) if str(steps) in {"1", "2", "4"} else 1
        return ["Reading the input picture", *(f"Step {step + 1} of {count}" for step in range(count)), "Encoding"]

    async def make(self, payload: object) -> Output:
        """Raises FalError 422 in the shape of the model's own errors."""
        wanted = validated(Input, payload)
        source = await self._read(wanted.image_url)
        # Below 2**53, so that a JavaScript client can send it back unchanged.
        seed = secrets.randbelow(2**32) if wanted.seed is None else wanted.seed
        nsfw = wanted.enable_safety_checker and NSFW_WORD in wanted.prompt.lower()
        begun = time.perf_counter()
        try:
            pictures = await asyncio.to_thread(paint, source, wanted, seed, nsfw=nsfw)
        except UnreadablePicture as exc:
            raise field_error("image_url", "image_load_error", "Failed to load the image") from exc
        except PictureTooLarge as exc:
            raise field_error("image_url", "image_too_large", f"More than {MAX_PIXELS} pixels") from exc
        body = {
            "images": [self._published(picture, wanted) for picture in pictures],
            "timings": {"inference": round(time.perf_counter() - begun, 4)},
            "seed": seed,
            "has_nsfw_concepts": [nsfw] * wanted.num_images,
            "prompt": wanted.prompt,
        }
        return Output(body, units=wanted.units)

    async def _read(self, url: str) -> bytes:
        try:
            return await self._sources.read(url)
        except DownloadFailed as exc:
            raise field_error("image_url", "file_download_error", str(exc)) from exc

    def _published(self, picture: bytes, wanted: Input) -> dict[str, object]:
        media = f"image/{wanted.format}"
        if wanted.sync_mode:
            url = f"data:{media};base64,{base64.b64encode(picture).decode('ascii')}"
        else:
            name = self._files.new_name(f"out.{wanted.format}")
            self._files.put(name, StoredFile(picture, media))
            url = self._files.url(name)
        width, height = wanted.size
        return {"url": url, "width": width, "height": height, "content_type": media}


def paint(raw: bytes, wanted: Input, seed: int, *, nsfw: bool) -> list[bytes]:
    source = decode(raw)
    pictures = []
    for number in range(wanted.num_images):
        brush = Brush(wanted.prompt, seed + number, int(wanted.num_inference_steps), wanted.strength)
        picture = blackout(wanted.size) if nsfw else repaint(source, wanted.size, brush)
        pictures.append(encode(picture, wanted.format))
    return pictures
