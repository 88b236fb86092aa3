"""Import of model schemas: from documents as fal publishes them to schema files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.errors import ConfigError, SchemaError
from proxy.payload.schema_import.converter import Converter
from proxy.payload.schema_import.defaults import repair_defaults
from proxy.payload.schema_import.documents import ModelDocument, read_documents
from proxy.payload.validation.schema_file import DRAFT, check_schema
from proxy.strict_json import Json, dump


@dataclass(frozen=True, slots=True)
class ImportedSchema:
    """The schema file of one endpoint, as *document*, with the *warnings* of its import."""

    endpoint: str | None
    document: dict[str, Json]
    warnings: tuple[str, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the input's fields."""
        properties = self.document.get("properties")
        return tuple(properties) if isinstance(properties, dict) else ()


def import_schemas(raw: bytes) -> tuple[list[ImportedSchema], list[str]]:
    """Returns the schemas in the file *raw*, and the problems of those that cannot be imported.

    Raises SchemaError where the file is of no form that can be imported.
    """
    imported: list[ImportedSchema] = []
    problems: list[str] = []
    for document in read_documents(raw):
        try:
            imported.append(import_document(document))
        except SchemaError as error:
            problems.append(f"{document.endpoint or 'input'}: {error}")
    return imported, problems


def import_document(document: ModelDocument) -> ImportedSchema:
    """Returns *document* as a schema file. Raises SchemaError for no input fields, or too many."""
    converter = Converter(_scope(document, "input"))
    flat_input = _flatten(converter.convert(document.input, "#"), converter.definitions)
    if not isinstance(flat_input.get("properties"), dict) or not flat_input["properties"]:
        raise SchemaError('the document lists no input fields; list the endpoint with schema = "any" instead')
    warnings = converter.warnings
    definitions = dict(converter.definitions)
    if document.output is not None:
        output = Converter(_scope(document, "output"))
        given = output.convert(document.output, "#/$defs/Output")
        definitions = _with_output(definitions, given, output.definitions)
        warnings = [*warnings, *output.warnings]
    result: dict[str, Json] = {"$schema": DRAFT, **flat_input, "type": "object"}
    if definitions := _reachable(flat_input, definitions):
        result["$defs"] = definitions
    try:
        check_schema(document.endpoint or "input", dump(result))
    except ConfigError as error:
        raise SchemaError("; ".join(problem.message for problem in error.problems[:3])) from error
    warnings = [*warnings, *repair_defaults(result)]
    return ImportedSchema(document.endpoint, result, tuple(dict.fromkeys(warnings)))


def _scope(document: ModelDocument, part: str) -> Mapping[str, Json]:
    """Returns the document that references of *part* point into: of a pair each half has its own."""
    half = document.root.get(part) if document.root.keys() == {"input", "output"} else None
    return half if isinstance(half, dict) else document.root


def _flatten(schema: Json, definitions: Mapping[str, Json]) -> dict[str, Json]:
    """Returns an object's schema with the properties of what it refers to, or is composed of, at its top."""
    if not isinstance(schema, dict):
        return {}
    flat = {name: value for name, value in schema.items() if name not in ("$ref", "allOf")}
    parts: list[Json] = []
    if isinstance(reference := schema.get("$ref"), str):
        parts.append(definitions.get(reference.removeprefix("#/$defs/")))
    composed = schema.get("allOf")
    parts += composed if isinstance(composed, list) else []
    base: dict[str, Json] = {}
    for part in parts:
        base = _merged(base, _flatten(part, definitions))
    return _merged(base, flat)


def _merged(below: dict[str, Json], above: dict[str, Json]) -> dict[str, Json]:
    merged = {**below, **above}
    fields, more_fields = below.get("properties"), above.get("properties")
    if isinstance(fields, dict) and isinstance(more_fields, dict):
        merged["properties"] = {**fields, **more_fields}
    names, more_names = below.get("required"), above.get("required")
    if isinstance(names, list) and isinstance(more_names, list):
        merged["required"] = list(dict.fromkeys(str(name) for name in [*names, *more_names]))
    return merged


def _with_output(definitions: dict[str, Json], output: Json, output_definitions: Mapping[str, Json]) -> dict[str, Json]:
    """Returns *definitions* with `Output` and its own definitions, renamed where the name is in use."""
    names: dict[str, str] = {}
    for name, schema in output_definitions.items():
        unique, number = name, 2
        while unique in definitions and definitions[unique] != schema:
            unique, number = f"{name}{number}", number + 1
        names[name] = unique
    joined = {**definitions, **{names[name]: _renamed(schema, names) for name, schema in output_definitions.items()}}
    joined["Output"] = _renamed(output, names)
    return joined


def _reachable(schema: Json, definitions: Mapping[str, Json]) -> dict[str, Json]:
    """Returns those of *definitions* that *schema* or the output refers to, in their order."""
    names: set[str] = set()
    waiting: list[Json] = [schema]
    if "Output" in definitions:
        names.add("Output")
        waiting.append(definitions["Output"])
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            reference = node.get("$ref")
            name = reference.removeprefix("#/$defs/") if isinstance(reference, str) else ""
            if name in definitions and name not in names:
                names.add(name)
                waiting.append(definitions[name])
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return {name: definition for name, definition in definitions.items() if name in names}


def _renamed(node: Json, names: Mapping[str, str]) -> Json:
    if isinstance(node, list):
        return [_renamed(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    renamed = {name: _renamed(value, names) for name, value in node.items()}
    if isinstance(reference := node.get("$ref"), str):
        name = reference.removeprefix("#/$defs/")
        renamed["$ref"] = f"#/$defs/{names.get(name, name)}"
    return renamed
