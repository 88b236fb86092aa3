from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from proxy.sandbox.models.schema_catalog import CatalogError, load_schemas

SHIPPED = [
    "fal-ai/bria/background/remove",
    "fal-ai/flux/dev",
    "fal-ai/hyper-sdxl/image-to-image",
    "fal-ai/kling-video/v2.5-turbo/pro/image-to-video",
    "fal-ai/minimax/speech-02-hd",
    "fal-ai/nano-banana/edit",
    "fal-ai/veo3.1",
    "fal-ai/wizper",
    "openrouter/router",
]


def document(text: str) -> str:
    return json.dumps({"type": "object", "properties": {text: {"type": "string"}}})


def test_the_shipped_schemas_have_inputs_and_outputs() -> None:
    """Without a folder the nine endpoints of the demo are known."""
    schemas = load_schemas(None)

    assert sorted(schemas) == SHIPPED
    assert all(schema.input and schema.output for schema in schemas.values())


def test_a_files_name_is_its_endpoint(tmp_path: Path) -> None:
    """Two underscores and folders stand for slashes, and a file replaces a shipped schema."""
    (tmp_path / "acme__text__v1.5.json").write_text(document("a"))
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "image.json").write_text(document("b"))
    (tmp_path / "fal-ai__flux__dev.json").write_text(document("c"))
    (tmp_path / "notes.txt").write_text("no schema")

    schemas = load_schemas(tmp_path)

    assert sorted(schemas.keys() - SHIPPED) == ["acme/image", "acme/text/v1.5"]
    assert schemas["fal-ai/flux/dev"].input == json.loads(document("c"))


def test_the_second_file_for_an_endpoint_wins_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files are read in the order of their names."""
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "image.json").write_text(document("first"))
    (tmp_path / "acme__image.json").write_text(document("second"))

    with caplog.at_level(logging.WARNING):
        schemas = load_schemas(tmp_path)

    assert schemas["acme/image"].input == json.loads(document("second"))
    assert "a second file for acme/image" in caplog.text


def test_unusable_files_are_listed_together(tmp_path: Path) -> None:
    """One error names every file that is no JSON object, and a missing folder."""
    (tmp_path / "a__b.json").write_text("{")
    (tmp_path / "c__d.json").write_text("[]")

    with pytest.raises(CatalogError, match=r"(?s)a__b\.json: is not JSON.*c__d\.json: is not a JSON object"):
        load_schemas(tmp_path)
    with pytest.raises(CatalogError, match="is not a folder"):
        load_schemas(tmp_path / "gone")
