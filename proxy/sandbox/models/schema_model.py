"""Model of an endpoint with a known schema, which answers by its output schema."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from proxy.sandbox.files import FileHost
from proxy.sandbox.input_files import DownloadError, InputFiles
from proxy.sandbox.json_types import Json
from proxy.sandbox.media.images import MAX_PIXELS, ImageTooLarge, UnreadableImage, decode
from proxy.sandbox.models.input_options import InputOptions
from proxy.sandbox.models.input_validation import InputValidator
from proxy.sandbox.models.media_factory import MediaFactory
from proxy.sandbox.models.output import Output
from proxy.sandbox.models.output_builder import OutputBuilder
from proxy.sandbox.models.schema_documents import ModelSchema
from proxy.sandbox.responses import field_error

MAX_INPUT_FILES = 64
# A file is a URL in a field whose name has one of these words: `image_url`, `reference_images`, `audio`.
_FILE_WORDS = frozenset(
    {"url", "urls", "uri", "image", "images", "mask", "video", "videos", "audio", "file", "archive", "zip"}
)
_IMAGE_WORDS = frozenset({"image", "images", "picture", "photo", "selfie", "face", "garment"})
_URL = re.compile(r"(?:https?://|data:)\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileReference:
    """A URL in an input. *location*: the path to its field."""

    location: tuple[str | int, ...]
    url: str

    @property
    def words(self) -> frozenset[str]:
        """Words of the innermost field name."""
        names = [step for step in self.location if isinstance(step, str)]
        return frozenset(names[-1].lower().split("_")) if names else frozenset()


class SchemaModel:
    """Model of *endpoint*, whose output schema is known.

    Without an input schema every object is accepted.
    """

    def __init__(self, endpoint: str, schema: ModelSchema, input_files: InputFiles, files: FileHost) -> None:
        self._endpoint = endpoint
        self._input_schema = schema.input
        self._output_schema = schema.output or {}
        self._validator = InputValidator(schema.input)
        self._input_files = input_files
        self._files = files

    def check(self, payload: Json) -> None:
        """Raises FalError 422 for an input that its schema refuses."""
        self._validator.check(payload)

    def log_messages(self, payload: Json) -> Sequence[str]:
        """Returns three lines."""
        return ["Reading the input", "Generating", "Encoding"]

    async def run(self, payload: Json) -> Output:
        """Returns an answer of the output schema.

        Raises FalError 422 for an invalid input or an unreadable file.
        """
        fields = self._validator.check(payload)
        source = await self._read_files(list(_file_references(fields)))
        options = InputOptions(fields, self._input_schema)
        # Below 2**53, so that a JavaScript client can send it back unchanged.
        seed = secrets.randbelow(2**32) if options.seed is None else options.seed
        media = MediaFactory(options, self._files, source=source, seed=seed)
        body = await asyncio.to_thread(self._build, options, media, seed)
        for name, file in media.stored.items():
            self._files.put(name, file)
        return Output(body, units=round(media.units, 4) or 1.0)

    def _build(self, options: InputOptions, media: MediaFactory, seed: int) -> Json:
        start = time.perf_counter()
        builder = OutputBuilder(
            options,
            media,
            endpoint=self._endpoint,
            seed=seed,
            elapsed=lambda: round(time.perf_counter() - start, 4),
        )
        return builder.build(self._output_schema)

    async def _read_files(self, references: Sequence[FileReference]) -> Image.Image | None:
        """Reads the files of the input and returns the first image among them, None without one.

        A file at a public URL stays unread: the answer does not depend on it, and no connection leaves the host.
        """
        source: Image.Image | None = None
        for reference in references[:MAX_INPUT_FILES]:
            if not self._input_files.can_read(reference.url):
                continue
            try:
                content = await self._input_files.read(reference.url)
            except DownloadError as exc:
                raise field_error(reference.location, "file_download_error", str(exc)) from exc
            if source is None and reference.words & _IMAGE_WORDS:
                source = await asyncio.to_thread(_decode, content, reference)
        return source


def _decode(content: bytes, reference: FileReference) -> Image.Image:
    try:
        return decode(content)
    except UnreadableImage as exc:
        raise field_error(reference.location, "image_load_error", "Failed to load the image") from exc
    except ImageTooLarge as exc:
        raise field_error(reference.location, "image_too_large", f"More than {MAX_PIXELS} pixels") from exc


def _file_references(value: Json, location: tuple[str | int, ...] = ()) -> Iterator[FileReference]:
    """Yields the URLs in file fields, in the order of the input."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _file_references(item, (*location, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _file_references(item, (*location, index))
    elif isinstance(value, str) and _URL.fullmatch(value):
        reference = FileReference(location, value)
        if reference.words & _FILE_WORDS:
            yield reference
