from __future__ import annotations

import pytest

from proxy.sandbox.json_types import JsonObject
from proxy.sandbox.models.file_kinds import FileKind, classify_file


@pytest.mark.parametrize(
    ("path", "schema", "kind"),
    [
        (("video",), {"title": "File"}, (FileKind.VIDEO, "")),
        (("image",), {"title": "VideoFile"}, (FileKind.VIDEO, "")),
        (("images",), {}, (FileKind.IMAGE, "")),
        (("audio_file",), {}, (FileKind.AUDIO, "")),
        (("model_mesh",), {}, (FileKind.MESH, "")),
        (("model_urls", "obj"), {}, (FileKind.MESH, "obj")),
        (("model_urls", "fbx"), {}, (FileKind.MESH, "glb")),
        (("model_urls", "texture"), {}, (FileKind.IMAGE, "")),
        (("frames_zip",), {}, (FileKind.DOCUMENT, "zip")),
        (("config_file",), {}, (FileKind.DOCUMENT, "json")),
        (("diffusers_lora_file",), {}, (FileKind.DOCUMENT, "safetensors")),
        (("target",), {"title": "File"}, (FileKind.AUDIO, "")),
        (("result",), {"examples": [{"url": "https://files.example/a.mp3?x=1"}]}, (FileKind.AUDIO, "")),
        (("result",), {"properties": {"url": {"examples": ["https://files.example/a.GLB"]}}}, (FileKind.MESH, "glb")),
        (("result",), {"examples": [None, {"url": 1}, "https://files.example/x"]}, (FileKind.VIDEO, "")),
    ],
    ids=str,
)
def test_a_file_is_what_its_names_and_examples_say(
    path: tuple[str, ...], schema: JsonObject, kind: tuple[FileKind, str]
) -> None:
    """The order is: title of the type, words of the field, extension of an example, endpoint."""
    assert classify_file(path, schema, "acme/image-to-video") == kind


def test_a_file_without_any_sign_is_a_text() -> None:
    """Nothing else is known about it."""
    assert classify_file(("result",), {}, "acme/thing") == (FileKind.DOCUMENT, "txt")
