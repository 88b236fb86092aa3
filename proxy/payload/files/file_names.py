"""Names of uploaded files: the caller's name, made harmless, with an extension of the type. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

# The extensions of each type; the first is given to a name that has none of them.
EXTENSIONS: Mapping[str, tuple[str, ...]] = {
    "image/jpeg": ("jpg", "jpeg"),
    "image/png": ("png",),
    "image/webp": ("webp",),
    "image/gif": ("gif",),
    "image/avif": ("avif",),
    "image/bmp": ("bmp",),
    "image/heic": ("heic",),
    "image/heif": ("heif",),
    "image/tiff": ("tiff", "tif"),
    "image/svg+xml": ("svg",),
    "audio/mpeg": ("mp3",),
    "audio/mp4": ("m4a",),
    "audio/aac": ("aac",),
    "audio/flac": ("flac",),
    "audio/ogg": ("ogg", "oga", "opus"),
    "audio/wav": ("wav",),
    "audio/webm": ("webm", "weba"),
    "video/mp4": ("mp4", "m4v"),
    "video/quicktime": ("mov",),
    "video/webm": ("webm",),
    "video/x-matroska": ("mkv",),
    "video/x-msvideo": ("avi",),
    "video/mpeg": ("mpeg", "mpg"),
    "application/json": ("json",),
    "application/gzip": ("gz", "tgz"),
    "application/octet-stream": ("bin", "safetensors"),
    "application/pdf": ("pdf",),
    "application/x-tar": ("tar",),
    "application/zip": ("zip",),
    "text/csv": ("csv",),
    "text/plain": ("txt",),
    "model/gltf-binary": ("glb",),
    "model/gltf+json": ("gltf",),
    "model/obj": ("obj",),
    "model/stl": ("stl",),
}
MAX_NAME = 255  # characters, as file systems have it
_MAX_STEM = 100

_PATH_CHARACTERS = re.compile(r"[/\\]")
# URLs and file systems all take letters, digits and these in one way; the rest becomes an underscore.
_UNUSUAL = re.compile(r"[^\w ()-]+")


def file_name(name: str, content_type: str) -> str:
    """Returns a harmless name with one dot and an extension of *content_type*.

    *name* is neither empty nor has it slashes.
    """
    stem, dot, extension = unicodedata.normalize("NFC", name).strip().rpartition(".")
    known = EXTENSIONS[content_type]
    if not dot or extension.lower() not in known:
        stem = f"{stem}{dot}{extension}"
        extension = known[0]
    stem = _UNUSUAL.sub("_", stem).strip(" _")[:_MAX_STEM].rstrip(" _")
    return f"{stem or 'file'}.{extension.lower()}"


def type_by_extension(name: str, content_types: Iterable[str]) -> str | None:
    """Returns the one of *content_types* that the extension of *name* belongs to, None where none does."""
    _, dot, extension = name.strip().lower().rpartition(".")
    matching = (content_type for content_type in content_types if dot and extension in EXTENSIONS[content_type])
    return next(matching, None)


def extension_problem(name: str) -> str | None:
    """Returns a message for the caller about the fault of *name*, None where `file_name` takes it."""
    if _PATH_CHARACTERS.search(name) or not name.strip(". "):
        return "Input should be the name of a file, not a path"
    # isprintable() refuses every control, format (bidi too), surrogate and unassigned character, and odd spaces.
    if not name.isprintable():
        return "Input should have no control or invisible characters"
    return None
