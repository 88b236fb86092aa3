"""Input files: where a URL in a payload may lead, and which data URIs may stand in its place. Pure.

A member of the payload, at any depth, names a file where its name ends in `url`, `urls`, `uri` or `uris` in any case,
where its schema says `"format": "uri"`, or where the operator says so. One that ends in `path` or `paths` (weights: a
URL or a name in a hub) names a file where its value could be read as a URL. A list's items are what its member is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from proxy.errors import FieldError
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.validation.error_messages import field_error
from proxy.payload.validation.validator import MAX_VIOLATIONS
from proxy.strict_json import Json

PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif")
MAX_BYTES = 10 * 1024 * 1024

# Nothing but `;base64` may follow the type: other parameters have no use here, and parsers differ on them (RFC 2397).
_DATA = re.compile(r"data:([a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64});base64,", re.IGNORECASE | re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_ALIASES = {"image/jpg": "image/jpeg"}  # no registered type, but what half of the world writes
_URL_NAMES = ("url", "urls", "uri", "uris")
_PATH_NAMES = ("path", "paths")
_URL_FORMATS = frozenset({"uri", "uri-reference", "iri", "iri-reference", "url"})


_PLAIN_TYPES = frozenset({"string", "number", "integer", "boolean", "null"})
_ANYWHERE = HostAllowlist(any_public=True)


@dataclass(frozen=True, slots=True)
class FileRules:
    """*media_types* of data URIs, in lower case, of at most *max_bytes* once decoded.

    *fields*: names of further members that name files.
    """

    hosts: HostAllowlist = _ANYWHERE
    media_types: frozenset[str] = frozenset(PICTURES)
    max_bytes: int = MAX_BYTES
    fields: frozenset[str] = frozenset()


class _Kind(Enum):
    FILE = 1
    PERHAPS = 2
    OTHER = 3


class Inputs:
    """*schema* is the endpoint's input schema, free of references."""

    def __init__(self, rules: FileRules, schema: Json) -> None:
        self._rules = rules
        self._files = rules.fields | frozenset(_with_format(schema))
        # Asked of each member of each payload, so the names of the schema are decided once.
        self._kinds = {name: self._kind(name) for name in _names(schema)}
        # The schema lets nothing but a plain value stand here, and a plain value under such a name is no file.
        self._harmless = {name for name in _plain(schema) if self._kinds[name] is _Kind.OTHER}

    def violations(self, payload: dict[str, Json]) -> list[FieldError]:
        """At most 50, each naming its field; none repeats what the caller wrote. Not told: what the schema refuses."""
        found: list[FieldError] = []
        looked_at = {name: payload[name] for name in sorted(payload.keys() - self._harmless)}
        waiting: list[tuple[tuple[str | int, ...], _Kind, Json]] = [((), _Kind.OTHER, looked_at)]
        while waiting:
            path, inherited, node = waiting.pop()
            for step, item in _items(node):
                if not isinstance(item, str | list | dict):
                    continue
                kind = inherited
                if isinstance(step, str):
                    kind = self._kinds.get(step) or self._kind(step)
                if isinstance(item, str):
                    if kind is _Kind.OTHER or (fault := self._fault(kind, item)) is None:
                        continue
                    found.append(field_error([*path, step], *fault))
                    if len(found) == MAX_VIOLATIONS:
                        return found
                elif item:
                    waiting.append(((*path, step), kind, item))
        return found

    def _fault(self, kind: _Kind, value: str) -> tuple[str, str] | None:
        """fal's error type and message for what is wrong with *value*."""
        # An empty string names nothing, and models have it for a default.
        if not value or (kind is _Kind.PERHAPS and not _could_be_url(value)):
            return None
        if value[:5].lower() == "data:":
            return self._data_fault(value)
        fault = self._rules.hosts.problem(value)
        return None if fault is None else ("url_not_accepted", fault)

    def _data_fault(self, uri: str) -> tuple[str, str] | None:
        match = _DATA.match(uri)
        if match is None:
            return "data_uri_invalid", "A data URI should be data:<media type>;base64,<data>"
        kind = match[1].lower()
        if _ALIASES.get(kind, kind) not in self._rules.media_types:
            listed = ", ".join(sorted(self._rules.media_types)) or "none"
            return "media_type_not_accepted", f"The media type of a data URI should be one of: {listed}"
        length = len(uri) - match.end()
        padding = uri[-2:].count("=")
        if length // 4 * 3 - padding > self._rules.max_bytes:
            return "file_too_large", f"The file in a data URI should have at most {self._rules.max_bytes} bytes"
        # The alphabet and the length are all there is to valid base64 (RFC 4648), so nothing need be decoded.
        if length % 4 or _BASE64.fullmatch(uri, match.end()) is None:
            return "data_uri_invalid", "The data of a data URI should be padded base64 in the standard alphabet"
        return None

    def _kind(self, name: str) -> _Kind:
        lower = name.lower()
        if name in self._files or lower.endswith(_URL_NAMES):
            return _Kind.FILE
        return _Kind.PERHAPS if lower.endswith(_PATH_NAMES) else _Kind.OTHER


def _could_be_url(value: str) -> bool:
    return ":" in value or "//" in value or "\\" in value


def _items(node: Json) -> Iterable[tuple[str | int, Json]]:
    if isinstance(node, dict):
        return node.items()
    return enumerate(node) if isinstance(node, list) else ()


def _names(schema: Json) -> Iterator[str]:
    """The names of all properties in *schema*, at any depth."""
    for node in _nodes(schema):
        if isinstance(properties := node.get("properties"), dict):
            yield from properties


def _plain(schema: Json) -> Iterator[str]:
    """The names of the payload's own members that are never an object or a list."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if isinstance(properties, dict):
        yield from (name for name, field in properties.items() if _is_plain(field))


def _is_plain(field: Json) -> bool:
    kinds = field.get("type") if isinstance(field, dict) else None
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return _PLAIN_TYPES.issuperset(kind for kind in kinds if isinstance(kind, str)) and None not in kinds


def _with_format(schema: Json) -> Iterator[str]:
    """The names of properties that are URIs by their schema, or may be, or hold a list of them."""
    for node in _nodes(schema):
        if isinstance(properties := node.get("properties"), dict):
            yield from (name for name, field in properties.items() if _is_uri(field))


def _is_uri(field: Json) -> bool:
    """Looks through alternatives and lists, not into the members of objects, which have names of their own."""
    if not isinstance(field, dict):
        return False
    if field.get("format") in _URL_FORMATS:
        return True
    below = [field.get("items")]
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(branches := field.get(keyword), list):
            below += branches
    return any(_is_uri(branch) for branch in below)


def _nodes(schema: Json) -> Iterator[dict[str, Json]]:
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
