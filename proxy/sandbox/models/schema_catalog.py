"""Schemas of endpoints, from the files that the package ships and from a folder of the developer.

A file's name is the endpoint's id: `__` and folders stand for its slashes. `fal-ai__flux__dev.json` and
`fal-ai/flux/dev.json` both describe `fal-ai/flux/dev`.

The shipped files are those of the gateway, read as data. Each has the input and, in its `$defs`, the `Output`, so one
file describes an endpoint for both programs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from proxy.sandbox.models.schema_documents import DocumentError, ModelSchema, parse_document

SHIPPED = Path(__file__).parents[2] / "payload" / "schemas"
_SUFFIX = ".json"

_log = logging.getLogger(__name__)


class CatalogError(ValueError):
    """Unusable schema files. The message has one line for each."""


def load_schemas(folder: Path | None) -> Mapping[str, ModelSchema]:
    """Returns the schemas by endpoint id. A file in *folder* replaces the shipped one.

    Raises CatalogError for a missing folder and for files that are no JSON objects.
    """
    schemas = _load_folder(SHIPPED)
    if folder is None:
        return schemas
    if not folder.is_dir():
        raise CatalogError(f"{folder}: is not a folder")
    return {**schemas, **_load_folder(folder)}


def _load_folder(folder: Path) -> dict[str, ModelSchema]:
    schemas: dict[str, ModelSchema] = {}
    problems: list[str] = []
    for path in sorted(folder.rglob(f"*{_SUFFIX}")):
        endpoint = endpoint_id(path.relative_to(folder))
        if endpoint in schemas:
            _log.warning("%s: a second file for %s replaces the first", path, endpoint)
        try:
            schemas[endpoint] = parse_document(path.read_bytes())
        except (OSError, DocumentError) as exc:
            problems.append(f"{path}: {exc}")
    if problems:
        raise CatalogError("\n".join(problems))
    return schemas


def endpoint_id(path: Path) -> str:
    """Returns the endpoint id of a file, by its path relative to the folder."""
    return path.as_posix().removesuffix(_SUFFIX).replace("__", "/")
