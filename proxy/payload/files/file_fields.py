"""Fields of an input schema that name files, by name, at any depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from proxy.payload.files.media_types import field_media_types
from proxy.strict_json import Json

_URL_NAMES = ("url", "urls", "uri", "uris")
_PATH_NAMES = ("path", "paths")
_URL_FORMATS = frozenset({"uri", "uri-reference", "iri", "iri-reference", "url"})
_ALTERNATIVES = ("anyOf", "oneOf", "allOf", "prefixItems")
_NO_TEXT = frozenset({"number", "integer", "boolean", "null"})


class FieldKind(NamedTuple):
    """Content of a string field: files, or weights, which are a URL or a name in a hub.

    *words* are the words that the schema gives for the field, which are no files.
    """

    is_file: bool
    is_path: bool
    words: frozenset[str]


class FileFields:
    """Names in an input schema that stand for files, with the media types and words that each accepts.

    The name of such a field ends in `url`, `urls`, `uri` or `uris` in any case. Or its schema has `"format": "uri"` or
    `x-fal-file-input`, or the operator lists it.
    """

    def __init__(self, schema: Json, listed: frozenset[str] = frozenset()) -> None:
        self._files = set(listed)
        self._known: dict[str, FieldKind] = {}  # names of the schema
        self._media_types: dict[str, frozenset[str]] = {}
        self._words: dict[str, frozenset[str]] = {}
        for name, field in _properties(schema):
            if _is_marked(field):
                self._files.add(name)
            if self._is_file(name):
                types = field_media_types(name, field)
                self._media_types[name] = types | self._media_types.get(name, frozenset())
                self._words[name] = frozenset(_words(field)) | self._words.get(name, frozenset())
        self._known = {name: self.kind(name) for name, _ in _properties(schema)}

    def kind(self, name: str) -> FieldKind:
        """Returns what fields of this *name* hold."""
        known = self._known.get(name)
        if known is not None:
            return known
        is_path = name.strip().lower().endswith(_PATH_NAMES)
        return FieldKind(self._is_file(name), is_path, self._words.get(name, frozenset()))

    def media_types(self, name: str) -> frozenset[str]:
        """Returns the media types of files in the field *name*."""
        known = self._media_types.get(name)
        return field_media_types(name) if known is None else known

    def _is_file(self, name: str) -> bool:
        return name in self._files or name.strip().lower().endswith(_URL_NAMES)


def textless_fields(schema: Json) -> frozenset[str]:
    """Returns the top-level fields without free text: the validator rejects every other value there."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    fields: Mapping[str, Json] = properties if isinstance(properties, dict) else {}
    return frozenset(name for name, field in fields.items() if _is_textless(field))


def _is_textless(field: Json) -> bool:
    if not isinstance(field, dict):
        return False
    choices = field.get("enum", [field["const"]] if "const" in field else None)
    if isinstance(choices, list):
        return not any(isinstance(choice, list | dict) for choice in choices) and all(
            not isinstance(choice, str) or _is_word(choice) for choice in choices
        )
    branches = field.get("anyOf", field.get("oneOf"))
    if isinstance(branches, list) and "type" not in field:
        return bool(branches) and all(_is_textless(branch) for branch in branches)
    kinds = field.get("type")
    names = kinds if isinstance(kinds, list) else [kinds]
    return all(isinstance(kind, str) and kind in _NO_TEXT for kind in names)


def _is_marked(field: Json) -> bool:
    """Returns whether *field* has a mark. Members of objects are fields of their own."""
    if not isinstance(field, dict):
        return False
    if field.get("format") in _URL_FORMATS or field.get("x-fal-file-input") is True:
        return True
    return any(_is_marked(branch) for branch in _branches(field))


def _words(field: Json) -> Iterator[str]:
    """Yields the choices, examples and defaults of *field* that cannot be read as a URL."""
    if not isinstance(field, dict):
        return
    for keyword in ("enum", "examples"):
        listed = field.get(keyword)
        for value in listed if isinstance(listed, list) else ():
            yield from _texts(value if isinstance(value, list) else [value])
    yield from _texts([field.get("const"), field.get("default")])
    for branch in _branches(field):
        yield from _words(branch)


def _texts(values: list[Json]) -> Iterator[str]:
    yield from (value for value in values if isinstance(value, str) and _is_word(value))


def _is_word(value: Json) -> bool:
    return isinstance(value, str) and bool(value) and not {":", "/", "\\"} & set(value) and "." not in value


def _branches(field: Mapping[str, Json]) -> Iterator[Json]:
    yield field.get("items")
    for keyword in _ALTERNATIVES:
        branches = field.get(keyword)
        yield from branches if isinstance(branches, list) else ()


def _properties(schema: Json) -> Iterator[tuple[str, Json]]:
    """Yields every property in *schema*, at any depth."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            properties = node.get("properties")
            yield from properties.items() if isinstance(properties, dict) else ()
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
