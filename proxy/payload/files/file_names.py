"""What an uploaded file is called: its caller's name for it, made harmless, with an extension of its type. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

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
    "audio/x-wav": ("wav",),
    "audio/webm": ("webm", "weba"),
    "video/mp4": ("mp4", "m4v"),
    "video/quicktime": ("mov",),
    "video/webm": ("webm",),
    "video/x-matroska": ("mkv",),
    "application/json": ("json",),
    "application/octet-stream": ("bin", "safetensors"),
    "application/pdf": ("pdf",),
    "application/zip": ("zip",),
    "text/csv": ("csv",),
    "text/plain": ("txt",),
    "model/gltf-binary": ("glb",),
}
MAX_NAME = 255  # characters, as file systems have it
_MAX_STEM = 100

_PATH_CHARACTERS = re.compile(r"[/\\]")
# URLs and file systems all take letters, digits and these in one way; the rest becomes an underscore.
_UNUSUAL = re.compile(r"[^\w ()-]+")


def file_name(name: str, content_type: str) -> str:
    """A harmless name of one dot, with an extension of *content_type*; *name* is not empty and without slashes."""
    stem, dot, extension = unicodedata.normalize("NFC", name).strip().rpartition(".")
    known = EXTENSIONS[content_type]
    if not dot or extension.lower() not in known:
        stem = f"{stem}{dot}{extension}"
        extension = known[0]
    stem = _UNUSUAL.sub("_", stem).strip(" _")[:_MAX_STEM].rstrip(" _")
    return f"{stem or 'file'}.{extension.lower()}"


def extension_problem(name: str) -> str | None:
    """What is wrong with *name*, for whoever wrote it; None where `file_name` can do with it."""
    if _PATH_CHARACTERS.search(name) or not name.strip(". "):
        return "Input should be the name of a file, not a path"
    # isprintable() refuses every control, format (bidi too), surrogate and unassigned character, and odd spaces.
    if not name.isprintable():
        return "Input should have no control or invisible characters"
    return None
