"""Lookup of an endpoint's schema: its own file, the folder of `[schemas]`, the files of the package."""

from __future__ import annotations

from pathlib import Path

from proxy.errors import ConfigError, Problem, SchemaError
from proxy.near_names import did_you_mean
from proxy.payload.schema_import.importer import ImportedSchema, import_schemas
from proxy.payload.validation.schema_file import SHIPPED, Schema, check_schema
from proxy.strict_json import dump, parse

# Members that only a document of fal has at its top, a schema file never.
_DOCUMENT_MEMBERS = frozenset({"openapi", "paths", "models"})
_MAX_NODES = 5_000_000


def schema_file_name(endpoint: str) -> str:
    """Returns the name of the file of *endpoint* in a folder of schemas: slashes become `__`."""
    return f"{endpoint.replace('/', '__')}.json"


def endpoint_by_file_name(name: str) -> str:
    """Returns the endpoint id that the file *name* stands for."""
    return name.removesuffix(".json").replace("__", "/")


def load_endpoint_schema(endpoint: str, *, file: Path | None = None, folder: Path | None = None) -> Schema:
    """Returns the schema of *endpoint*.

    Raises ConfigError with every fault of its file, ValueError where it has none.
    """
    path = file or find_schema_file(endpoint, folder)
    if path is None:
        raise ValueError(_unknown(endpoint))
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from error
    if not _is_document(raw):
        return check_schema(str(path), raw)
    imported = _import(endpoint, path, raw)
    schema = check_schema(str(path), dump(imported.document))
    return Schema(schema.source, schema.input, schema.output, warnings=imported.warnings)


def find_schema_file(endpoint: str, folder: Path | None) -> Path | None:
    """Returns the file of *endpoint* in *folder*, else the one of the package, else None."""
    candidates = [SHIPPED / f"{endpoint}.json"]
    if folder is not None:
        candidates = [folder / schema_file_name(endpoint), folder / f"{endpoint}.json", *candidates]
    return next((path for path in candidates if path.is_file()), None)


def known_endpoints(folder: Path | None) -> dict[str, Path]:
    """Returns the endpoints with a schema file, and the file. *folder* comes before the package."""
    known: dict[str, Path] = {}
    for root in (SHIPPED, folder):
        for path in sorted(root.rglob("*.json")) if root is not None and root.is_dir() else ():
            known[endpoint_by_file_name(path.relative_to(root or SHIPPED).as_posix())] = path
    return dict(sorted(known.items()))


def _is_document(raw: bytes) -> bool:
    if not any(b'"%b"' % member.encode() in raw for member in _DOCUMENT_MEMBERS):
        return False
    try:
        value = parse(raw, max_nodes=_MAX_NODES)
    except ValueError:
        return False
    return isinstance(value, dict) and not _DOCUMENT_MEMBERS.isdisjoint(value)


def _import(endpoint: str, path: Path, raw: bytes) -> ImportedSchema:
    """Returns the schema of *endpoint* in a document as fal publishes it. Raises ConfigError."""
    try:
        imported, problems = import_schemas(raw)
    except SchemaError as error:
        raise ConfigError([Problem(str(path), str(error))]) from error
    matching = [schema for schema in imported if schema.endpoint == endpoint]
    if matching:
        return matching[-1]
    if len(imported) == 1 and not problems:
        return imported[0]
    others = ", ".join(schema.endpoint or "?" for schema in imported[:5]) or "none"
    raise ConfigError([Problem(str(path), "; ".join([*problems, f"describes {others}, not {endpoint}"]))])


def _unknown(endpoint: str) -> str:
    near = did_you_mean(endpoint, known_endpoints(None)).removesuffix("?")
    return (
        f"no schema is known for {endpoint}{near}: fetch it with `fal-proxy schema pull {endpoint}`, "
        'name a file with schema_file, or write schema = "any" to accept every input'
    )
