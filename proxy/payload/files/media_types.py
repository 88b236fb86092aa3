"""Media types of input files: aliases, kinds of file, and the kind that a field is for.

Registered types: https://www.iana.org/assignments/media-types. Aliases are what Chromium, Firefox, Safari, Windows and
older tools send for the same format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from proxy.strict_json import Json

_FORM = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}", re.ASCII)
OCTET_STREAM = "application/octet-stream"

ALIASES: Mapping[str, str] = {
    "application/gzip-compressed": "application/gzip",
    "application/x-gzip": "application/gzip",
    "application/x-pdf": "application/pdf",
    "application/x-zip": "application/zip",
    "application/x-zip-compressed": "application/zip",
    "audio/m4a": "audio/mp4",
    "audio/mp3": "audio/mpeg",
    "audio/opus": "audio/ogg",
    "audio/vnd.wave": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-aac": "audio/aac",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/x-ogg": "audio/ogg",
    "audio/x-pn-wav": "audio/wav",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/tif": "image/tiff",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
    "image/x-png": "image/png",
    "multipart/x-zip": "application/zip",
    "video/avi": "video/x-msvideo",
    "video/m4v": "video/mp4",
    "video/matroska": "video/x-matroska",
    "video/mov": "video/quicktime",
    "video/msvideo": "video/x-msvideo",
    "video/x-m4v": "video/mp4",
}

PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif")
KINDS: Mapping[str, frozenset[str]] = {
    "image": frozenset({*PICTURES, "image/avif", "image/bmp", "image/heic", "image/heif", "image/tiff"}),
    "video": frozenset(
        {"video/mp4", "video/quicktime", "video/webm", "video/x-matroska", "video/x-msvideo", "video/mpeg", "image/gif"}
    ),
    "audio": frozenset(
        {"audio/mpeg", "audio/mp4", "audio/aac", "audio/flac", "audio/ogg", "audio/wav", "audio/webm"}
        # Recorders of browsers name the container, not the track in it.
        | {"video/mp4", "video/webm"}
    ),
    "archive": frozenset({"application/zip", "application/gzip", "application/x-tar"}),
    "mesh": frozenset({"model/gltf-binary", "model/gltf+json", "model/obj", "model/stl"}),
    "document": frozenset({"application/pdf", "text/plain", "application/json"}),
}
UNKNOWN = KINDS["image"] | KINDS["video"] | KINDS["audio"]

# Words of a field's name, or values of fal's `ui.field` and `_fal_ui_field` -> kind.
_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("image", "img", "picture", "photo", "mask", "frame", "sketch", "canny", "depth"), "image"),
    **dict.fromkeys(("video", "movie", "clip"), "video"),
    **dict.fromkeys(("audio", "voice", "speech", "sound", "music", "song", "impulse"), "audio"),
    **dict.fromkeys(("archive", "zip", "dataset", "data"), "archive"),
    **dict.fromkeys(("mesh", "glb", "pointmap"), "mesh"),
    **dict.fromkeys(("pdf", "document", "file"), "document"),
}
_WORD = re.compile(r"[a-z]+")


def media_type(text: str) -> str | None:
    """Returns the registered media type of *text* without parameters, None where it has another form.

    An empty text is application/octet-stream, which means "unknown" (RFC 9110 section 8.3).
    """
    bare = text.partition(";")[0].strip().lower()
    if not bare:
        return OCTET_STREAM
    return ALIASES.get(bare, bare) if _FORM.fullmatch(bare) else None


def field_media_types(name: str, schema: Json = None) -> frozenset[str]:
    """Returns the media types of the field *name*, by fal's marks in *schema*, else by words of the name."""
    kinds = {_WORDS[word] for word in _marks(schema) if word in _WORDS} or set(_kinds_by_name(name))
    if kinds - {"document"}:
        return frozenset[str]().union(*(KINDS[kind] for kind in kinds))
    return UNKNOWN | KINDS["document"] if kinds else UNKNOWN


def _kinds_by_name(name: str) -> Iterator[str]:
    for word in _WORD.findall(name.lower()):
        if (kind := _WORDS.get(word) or _WORDS.get(word.removesuffix("s"))) is not None:
            yield kind


def _marks(schema: Json) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    ui = schema.get("ui")
    for mark in (schema.get("_fal_ui_field"), ui.get("field") if isinstance(ui, dict) else None):
        if isinstance(mark, str):
            yield from _WORD.findall(mark.lower())
