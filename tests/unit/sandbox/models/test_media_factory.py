from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from support.sandbox import Clock

from proxy.sandbox.files import FileHost
from proxy.sandbox.json_types import JsonObject
from proxy.sandbox.models.file_kinds import FileKind
from proxy.sandbox.models.input_options import InputOptions
from proxy.sandbox.models.media_factory import MediaFactory

# The first bytes of each format.
MAGIC = {
    "image/png": b"\x89PNG",
    "image/jpeg": b"\xff\xd8\xff",
    "image/webp": b"RIFF",
    "image/gif": b"GIF8",
    "video/webm": b"\x1aE\xdf\xa3",
    "audio/wav": b"RIFF",
    "audio/mpeg": b"\xff\xfb",
    "model/gltf-binary": b"glTF",
    "model/obj": b"# fal",
    "application/zip": b"PK\x03\x04",
}


def factory(payload: JsonObject | None = None, *, source: Image.Image | None = None, seed: int = 1) -> MediaFactory:
    files = FileHost("http://files.test", capacity=10**7, clock=Clock())
    options = InputOptions({"image_size": "16x8", **(payload or {})}, None)
    return MediaFactory(options, files, source=source, seed=seed)


@pytest.mark.parametrize(
    ("kind", "extension", "payload", "content_type", "units"),
    [
        (FileKind.IMAGE, "", {}, "image/png", 128 / 2**20),
        (FileKind.IMAGE, "", {"output_format": "jpeg"}, "image/jpeg", 128 / 2**20),
        (FileKind.IMAGE, "", {"output_format": "webp"}, "image/webp", 128 / 2**20),
        (FileKind.IMAGE, "", {"output_format": "gif"}, "image/gif", 128 / 2**20),
        (FileKind.VIDEO, "", {"duration": "2"}, "video/webm", 2.0),
        (FileKind.AUDIO, "", {"duration": 1.5}, "audio/wav", 1.5),
        (FileKind.AUDIO, "", {"output_format": "mp3_44100_128"}, "audio/mpeg", 3.0),
        (FileKind.MESH, "", {}, "model/gltf-binary", 1.0),
        (FileKind.MESH, "", {"geometry_file_format": "obj"}, "model/obj", 1.0),
        (FileKind.MESH, "glb", {"geometry_file_format": "obj"}, "model/gltf-binary", 1.0),
        (FileKind.DOCUMENT, "zip", {}, "application/zip", 0.0),
    ],
    ids=str,
)
def test_a_file_is_of_the_kind_and_format(
    kind: FileKind, extension: str, payload: JsonObject, content_type: str, units: float
) -> None:
    """Bytes, media type, name and size agree; images bill megapixels, audio and video seconds."""
    media = factory(payload)

    description = media.publish(kind, extension, None)

    ((name, file),) = media.stored.items()
    assert description["url"] == f"http://files.test/files/{name}"
    assert (description["content_type"], file.content_type, media.units) == (content_type, content_type, units)
    assert (description["file_name"], description["file_size"]) == (name, len(file.content))
    assert file.content.startswith(MAGIC[content_type])


def test_sync_mode_returns_a_data_uri() -> None:
    """Nothing is stored, and the URI holds the file."""
    media = factory({"sync_mode": True})

    description = media.publish(FileKind.IMAGE, "", None)

    head, _, data = str(description["url"]).partition(",")
    assert (head, media.stored) == ("data:image/png;base64", {})
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (16, 8)


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Files of one call differ, calls with one seed do not."""

    def contents(seed: int) -> list[bytes]:
        media = factory({"prompt": "a cat", "image_size": "64x48"}, seed=seed)
        for kind in (FileKind.IMAGE, FileKind.IMAGE, FileKind.VIDEO, FileKind.AUDIO):
            media.publish(kind, "", None)
        return [file.content for file in media.stored.values()]

    assert contents(1) == contents(1)
    assert contents(1)[0] != contents(1)[1]
    assert contents(1)[0] != contents(2)[0]


def test_a_source_is_transformed() -> None:
    """Strength 0 keeps the source's colours, strength 1 does not; without a size the source's is used."""
    source = Image.new("RGB", (64, 48), "red")

    def corner(strength: float) -> object:
        media = factory({"strength": strength, "image_size": None}, source=source)
        media.publish(FileKind.IMAGE, "", None)
        (file,) = media.stored.values()
        picture = Image.open(io.BytesIO(file.content))
        assert picture.size == (64, 48)
        return picture.getpixel((63, 0))

    assert corner(0) == (255, 0, 0)
    assert corner(1) != (255, 0, 0)
