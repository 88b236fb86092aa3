"""Kind of a file in an answer, derived from its field's names, its schema's title and its examples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from proxy.sandbox.json_types import Json, JsonObject, as_list, as_object
from proxy.sandbox.media import documents, meshes


class FileKind(StrEnum):
    """Kinds of files. A document is a file of a fixed format, such as ZIP or JSON."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    MESH = "mesh"
    DOCUMENT = "document"


# Titles that fal's documents give to the types of files.
_TITLES: Mapping[str, tuple[FileKind, str]] = {
    "Image": (FileKind.IMAGE, ""),
    "ImageFile": (FileKind.IMAGE, ""),
    "MapImageFile": (FileKind.IMAGE, ""),
    "Video": (FileKind.VIDEO, ""),
    "VideoFile": (FileKind.VIDEO, ""),
    "Audio": (FileKind.AUDIO, ""),
    "AudioFile": (FileKind.AUDIO, ""),
}
_WORDS: Mapping[str, tuple[FileKind, str]] = {
    **dict.fromkeys(("video", "videos", "animation", "clip"), (FileKind.VIDEO, "")),
    **dict.fromkeys(
        ("audio", "audios", "speech", "music", "song", "sound", "voice", "vocals", "bass", "drums", "guitar", "piano"),
        (FileKind.AUDIO, ""),
    ),
    **dict.fromkeys(("target", "residual", "other", "instrumental"), (FileKind.AUDIO, "")),
    **dict.fromkeys(
        ("image", "images", "mask", "masks", "thumbnail", "texture", "textures", "map", "sticker", "spritesheet"),
        (FileKind.IMAGE, ""),
    ),
    **dict.fromkeys(("preview", "picture", "photo", "frame", "visualization", "depth", "normal"), (FileKind.IMAGE, "")),
    **dict.fromkeys(("model", "mesh", "meshes"), (FileKind.MESH, "")),
    # Formats that the sandbox cannot write; their fields get binary glTF.
    **dict.fromkeys(("glbs", "fbx", "usdz", "splat", "splats"), (FileKind.MESH, "glb")),
    **{extension: (FileKind.MESH, extension) for extension in meshes.FORMATS},
    **{extension: (FileKind.DOCUMENT, extension) for extension in documents.FORMATS},
    **dict.fromkeys(("archive", "dir", "dataset", "latents", "depths"), (FileKind.DOCUMENT, "zip")),
    **dict.fromkeys(("lora", "weights", "checkpoint", "embedding"), (FileKind.DOCUMENT, "safetensors")),
    **dict.fromkeys(("config", "metadata", "lottie"), (FileKind.DOCUMENT, "json")),
    **dict.fromkeys(("caption", "captions", "subtitle", "subtitles", "srt", "text"), (FileKind.DOCUMENT, "txt")),
}
_EXTENSIONS: Mapping[str, tuple[FileKind, str]] = {
    **dict.fromkeys(("png", "jpg", "jpeg", "webp", "gif"), (FileKind.IMAGE, "")),
    **dict.fromkeys(("mp4", "webm", "mov", "m4v"), (FileKind.VIDEO, "")),
    **dict.fromkeys(("mp3", "wav", "flac", "ogg", "opus", "aac", "m4a"), (FileKind.AUDIO, "")),
    **{word: kind for word, kind in _WORDS.items() if word in {"glb", "fbx", "usdz", *meshes.FORMATS}},
    **{extension: (FileKind.DOCUMENT, extension) for extension in documents.FORMATS},
}


def classify_file(path: Sequence[str], schema: JsonObject, endpoint: str) -> tuple[FileKind, str]:
    """Returns the kind of a file, and the extension where the names fix one.

    *path*: names of the fields that lead to it, the outermost first; *schema*: of the file object or of its URL.
    """
    if (by_title := _TITLES.get(str(schema.get("title")))) is not None:
        return by_title
    for text in reversed(path):
        if (by_word := _by_words(text)) is not None:
            return by_word
    for url in _example_urls(schema):
        extension = PurePosixPath(urlsplit(url).path).suffix.removeprefix(".").lower()
        if extension in _EXTENSIONS:
            return _EXTENSIONS[extension]
    # `text-to-speech`, `image-to-video`: the last word names the answer.
    return _by_words(endpoint.rpartition("/")[2]) or (FileKind.DOCUMENT, "txt")


def _by_words(text: str) -> tuple[FileKind, str] | None:
    return next((_WORDS[word] for word in reversed(re.split(r"[^a-z0-9]+", text.lower())) if word in _WORDS), None)


def _example_urls(schema: JsonObject) -> Iterator[str]:
    url_schema = as_object(as_object(schema.get("properties")).get("url"))
    examples: list[Json] = [*as_list(schema.get("examples")), *as_list(url_schema.get("examples"))]
    for example in examples:
        value = as_object(example).get("url") if isinstance(example, dict) else example
        if isinstance(value, str):
            yield value
