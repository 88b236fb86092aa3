"""Small files that are neither image, audio, video nor 3D: text, JSON, ZIP, safetensors and SVG."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping

_NOTE = "This file was made by the fal-proxy sandbox. No model ran.\n"
# ZIP stores no date before 1980; a fixed one keeps the bytes equal.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def text() -> bytes:
    """Returns a note in plain text."""
    return _NOTE.encode("ascii")


def json_file() -> bytes:
    """Returns a note in JSON."""
    return json.dumps({"note": _NOTE.strip()}).encode("ascii")


def archive() -> bytes:
    """Returns a ZIP file with one note."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("sandbox.txt", _ZIP_DATE), _NOTE)
    return buffer.getvalue()


def safetensors() -> bytes:
    """Returns a safetensors file with one tensor of one number: a length, a JSON head, the data."""
    head = json.dumps({"sandbox": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode("ascii")
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + bytes(4)


def svg() -> bytes:
    """Returns a vector image with the sandbox's label."""
    return (
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">'
        b'<rect width="64" height="64" fill="#345"/><text x="8" y="38" font-size="12" fill="#fff">sandbox</text></svg>'
    )


def material() -> bytes:
    """Returns a Wavefront material library."""
    return b"# fal-proxy sandbox\nnewmtl sandbox\nKd 0.6 0.6 0.6\n"


# Writers and media types by extension.
FORMATS: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "txt": (text, "text/plain"),
    "json": (json_file, "application/json"),
    "zip": (archive, "application/zip"),
    "safetensors": (safetensors, "application/octet-stream"),
    "svg": (svg, "image/svg+xml"),
    "mtl": (material, "text/plain"),
}
