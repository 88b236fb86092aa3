from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.payload.schema_import.lookup import known_endpoints, load_endpoint_schema, schema_file_name

SHIPPED = "fal-ai/flux/dev"


def schema(name: str) -> dict[str, object]:
    """Returns a schema file with one field *name*."""
    return {"type": "object", "properties": {name: {"type": "string"}}}


def document(name: str, endpoint: str = SHIPPED) -> dict[str, object]:
    """Returns an OpenAPI document of *endpoint* with one field *name*."""
    body = {"content": {"application/json": {"schema": schema(name)}}}
    return {
        "openapi": "3.0.4",
        "info": {"x-fal-metadata": {"endpointId": endpoint}},
        "paths": {f"/{endpoint}": {"post": {"requestBody": body, "responses": {}}}},
    }


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def fields(path: Path | None, folder: Path | None) -> list[str]:
    return list(load_endpoint_schema(SHIPPED, file=path, folder=folder).fields())


def test_the_file_comes_before_the_folder_and_the_folder_before_the_package(tmp_path: Path) -> None:
    """The order is schema_file, the folder of [schemas] dir, and the shipped schemas."""
    file = write(tmp_path / "own.json", schema("own"))
    folder = tmp_path / "schemas"

    assert "prompt" in fields(None, folder)
    write(folder / schema_file_name(SHIPPED), schema("folder"))
    assert fields(None, folder) == ["folder"]
    assert fields(file, folder) == ["own"]
    assert schema_file_name("a/b/c") == "a__b__c.json"


def test_folders_stand_for_slashes_too(tmp_path: Path) -> None:
    """A file fal-ai/flux/dev.json in the folder is the same endpoint as fal-ai__flux__dev.json."""
    path = write(tmp_path / "fal-ai" / "flux" / "dev.json", schema("nested"))

    assert fields(None, tmp_path) == ["nested"]
    assert known_endpoints(tmp_path)[SHIPPED] == path


@pytest.mark.parametrize(
    "value",
    [
        document("raw"),
        {"metadata": {}, "openapi": document("raw")},
        {"models": [{"openapi": document("other", "acme/x")}, {"openapi": document("raw")}]},
    ],
    ids=["bare", "wrapped", "page"],
)
def test_a_document_of_fal_is_imported_as_it_is(tmp_path: Path, value: object) -> None:
    """The schema of the endpoint is taken from a document that was given to schema_file unchanged."""
    assert fields(write(tmp_path / "raw.json", value), None) == ["raw"]


def test_the_warnings_of_an_import_are_in_the_schema(tmp_path: Path) -> None:
    """A fault of a document that is imported at start is a warning, not an error."""
    value = document("raw")
    value["paths"][f"/{SHIPPED}"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"] = {  # type: ignore[index]
        "raw": {"type": "integer", "default": "5"}
    }

    assert load_endpoint_schema(SHIPPED, file=write(tmp_path / "raw.json", value)).warnings != ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"models": [{"openapi": document("a", "acme/x")}, {"openapi": document("b", "acme/y")}]}, "describes acme/x"),
        ({"openapi": "3.0.4", "paths": {}}, "no POST operation"),
        ({"type": "object", "properties": {"a": {"$ref": "#/components/schemas/A"}}}, "fal-proxy schema import"),
        ({"type": "array"}, "fal-proxy schema import"),
    ],
)
def test_another_file_is_refused_with_the_way_out(tmp_path: Path, value: object, message: str) -> None:
    """A document of other endpoints, and a schema that is not one of a model, end the start with a reason."""
    with pytest.raises(ConfigError, match=message):
        fields(write(tmp_path / "raw.json", value), None)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """A schema_file that does not exist is not replaced by the shipped schema."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        fields(tmp_path / "none.json", None)


def test_an_unknown_endpoint_has_three_ways_out(tmp_path: Path) -> None:
    """The message has the command, the key for a file and the key for no schema."""
    with pytest.raises(ValueError, match=r'schema pull acme/x.*schema_file.*schema = "any"'):
        load_endpoint_schema("acme/x", folder=tmp_path)
