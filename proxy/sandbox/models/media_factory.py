"""Files of an answer, made to the options of the call."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from proxy.sandbox.files import FileHost, StoredFile
from proxy.sandbox.json_types import Json, JsonObject
from proxy.sandbox.media import audio, documents, images, meshes, video
from proxy.sandbox.models.file_kinds import FileKind
from proxy.sandbox.models.input_options import InputOptions

IMAGE_FORMATS = ("png", "jpeg", "webp", "gif")
# A longer video repeats them.
MAX_DISTINCT_FRAMES = 4
_STEPS = 4


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One file.

    *facts*: values of the fields that describe a file in fal's documents. *units*: billable units.
    """

    content: bytes
    content_type: str
    extension: str
    facts: JsonObject
    units: float


class MediaFactory:
    """Maker of the files of one call. *source*: the call's input image; *seed* numbers the files.

    `stored` collects the files to publish: a factory may run on a thread, and the file host may not.
    """

    def __init__(self, options: InputOptions, files: FileHost, *, source: Image.Image | None, seed: int) -> None:
        self._options = options
        self._files = files
        self._source = source
        self._seed = seed
        self._made = 0
        self.stored: dict[str, StoredFile] = {}
        self.units = 0.0

    def publish(self, kind: FileKind, extension: str, image_format: str | None) -> JsonObject:
        """Returns the description of a new file, `url` included.

        *extension*: fixed by the field's name, or empty; *image_format*: of images, where the call names none.
        """
        makers: dict[FileKind, Callable[[], MediaFile]] = {
            FileKind.IMAGE: lambda: self._image(image_format),
            FileKind.VIDEO: self._video,
            FileKind.AUDIO: self._audio,
            FileKind.MESH: lambda: self._mesh(extension),
            FileKind.DOCUMENT: lambda: _document(extension),
        }
        file = makers[kind]()
        self._made += 1
        self.units += file.units
        name = self._files.new_name(f"out.{file.extension}")
        if self._options.sync_mode:
            url = f"data:{file.content_type};base64,{base64.b64encode(file.content).decode('ascii')}"
        else:
            self.stored[name] = StoredFile(file.content, file.content_type)
            url = self._files.url(name)
        description: dict[str, Json] = {"url": url, "content_type": file.content_type, "file_name": name}
        return {**description, "file_size": len(file.content), **file.facts}

    def _image(self, image_format: str | None) -> MediaFile:
        size = self._options.image_size(self._source.size if self._source else None)
        file_format = self._options.format(IMAGE_FORMATS) or image_format or "png"
        content = images.encode(self._paint(size, self._made), file_format)
        units = size[0] * size[1] / 2**20
        return MediaFile(content, f"image/{file_format}", file_format, {"width": size[0], "height": size[1]}, units)

    def _video(self) -> MediaFile:
        size = self._options.video_size(self._source.size if self._source else None)
        seconds = self._options.video_seconds()
        count = video.frame_count(seconds)
        frames = [video.vp8_frame(self._paint(size, index)) for index in range(min(count, MAX_DISTINCT_FRAMES))]
        duration = count / video.FRAMES_PER_SECOND
        facts: JsonObject = {
            "width": size[0],
            "height": size[1],
            "fps": float(video.FRAMES_PER_SECOND),
            "num_frames": count,
            "duration": duration,
        }
        return MediaFile(video.webm(frames, size, seconds), "video/webm", "webm", facts, duration)

    def _audio(self) -> MediaFile:
        seconds = self._options.audio_seconds()
        facts: JsonObject = {"duration": seconds, "duration_ms": round(seconds * 1000), "channels": 1}
        if self._options.format(("mp3", "wav")) == "mp3":
            rate: JsonObject = {"sample_rate": 44_100}
            return MediaFile(audio.mp3(seconds), "audio/mpeg", "mp3", facts | rate, seconds)
        rate = {"sample_rate": audio.SAMPLE_RATE}
        return MediaFile(audio.wav(seconds, self._seed + self._made), "audio/wav", "wav", facts | rate, seconds)

    def _mesh(self, extension: str) -> MediaFile:
        extension = extension or self._options.format(tuple(meshes.FORMATS)) or "glb"
        write, content_type = meshes.FORMATS[extension]
        return MediaFile(write(), content_type, extension, {}, 1.0)

    def _paint(self, size: tuple[int, int], number: int) -> Image.Image:
        source = self._source or Image.radial_gradient("L").convert("RGB")
        strength = self._options.strength if self._source else 1.0
        return images.repaint(
            source, size, images.PaintOptions(self._options.prompt, self._seed + number, _STEPS, strength)
        )


def _document(extension: str) -> MediaFile:
    write, content_type = documents.FORMATS[extension]
    return MediaFile(write(), content_type, extension, {}, 0.0)
