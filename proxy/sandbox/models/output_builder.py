"""Answer of a model, built from its output schema."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Mapping

from proxy.sandbox.json_types import Json, JsonObject, as_list, as_object
from proxy.sandbox.models.file_kinds import classify_file
from proxy.sandbox.models.input_options import InputOptions
from proxy.sandbox.models.media_factory import MediaFactory

# Below this depth only required fields are filled in.
MAX_OPTIONAL_DEPTH = 6
MAX_TEXT = 400
_URL_FIELD = re.compile(r"(?:.*_)?ur[il]", re.ASCII)
_FORMATS: Mapping[str, str] = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "email": "sandbox@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "uuid": str(uuid.UUID(int=0, version=4)),
    "uuid4": str(uuid.UUID(int=0, version=4)),
}
Path = tuple[str, ...]


class OutputBuilder:
    """Builder of one answer.

    *seed*: seed of the call. *elapsed*: returns the seconds of the call for `timings`.
    """

    def __init__(
        self,
        options: InputOptions,
        media: MediaFactory,
        *,
        endpoint: str,
        seed: int,
        elapsed: Callable[[], float],
    ) -> None:
        self._options = options
        self._media = media
        self._endpoint = endpoint
        self._seed = seed
        self._elapsed = elapsed
        # Descriptions of the files made so far; fields beside a file repeat its facts.
        self._facts: JsonObject = {}

    def build(self, schema: JsonObject) -> Json:
        """Returns a value that *schema* accepts. *schema* holds no references."""
        return self._value(schema, ())

    def _value(self, schema: JsonObject, path: Path) -> Json:
        if "const" in schema:
            return schema["const"]
        if enum := as_list(schema.get("enum")):
            return self._option(enum, schema, path)
        if alternatives := as_list(schema.get("anyOf")) or as_list(schema.get("oneOf")):
            return self._alternative(schema, [as_object(item) for item in alternatives], path)
        if "allOf" in schema:
            return self._value(_merged(schema), path)
        return self._typed_value(_type(schema), schema, path)

    def _typed_value(self, declared: str | None, schema: JsonObject, path: Path) -> Json:
        match declared:
            case "object":
                return self._object(schema, path)
            case "array":
                return self._array(schema, path)
            case "string":
                return self._string(schema, path)
            case "number" | "integer":
                return self._number(schema, path)
            case "boolean":
                return schema.get("default") is True
            case "null":
                return None
            case _:
                return next(iter(as_list(schema.get("examples"))), {})

    def _option(self, enum: list[Json], schema: JsonObject, path: Path) -> Json:
        # A list of languages answers an input with a language.
        values = [self._options.fields.get(name) for name in (_name(path), _name(path).removesuffix("s"))]
        values.append(schema.get("default"))
        return next((value for value in values if value in enum and value is not None), enum[0])

    def _alternative(self, schema: JsonObject, alternatives: list[JsonObject], path: Path) -> Json:
        """Returns the value of the first alternative that is not null.

        A text that may be null is null unless the input or a file gives it.
        """
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
        values = [item for item in alternatives if item.get("type") != "null"]
        if not values:
            return None
        branch = {**rest, **next((item for item in values if _is_file(item)), values[0])}
        option, fact = self._options.fields.get(_name(path)), self._facts.get(_name(path))
        known = option is True or isinstance(option, str) or isinstance(fact, str) or _URL_FIELD.fullmatch(_name(path))
        if len(values) < len(alternatives) and _type(branch) == "string" and not known:
            return None
        return self._value(branch, path)

    def _object(self, schema: JsonObject, path: Path) -> JsonObject:
        if _is_file(schema):
            return self._file(schema, path)
        fields = {name: as_object(field) for name, field in as_object(schema.get("properties")).items()}
        required = as_list(schema.get("required"))
        # Files first: the other fields describe them.
        order = sorted(fields, key=lambda name: not _holds_file(fields[name]))
        values: JsonObject = {}
        for name in order:
            if name in required or len(path) < MAX_OPTIONAL_DEPTH:
                values[name] = self._value(fields[name], (*path, name))
        if not fields and path and _type(as_object(schema.get("additionalProperties"))) == "number":
            return {"inference": self._elapsed()}
        return {name: values[name] for name in fields if name in values}

    def _file(self, schema: JsonObject, path: Path) -> JsonObject:
        kind, extension = classify_file(path, schema, self._endpoint)
        self._facts = self._media.publish(kind, extension, _default_image_format(schema))
        fields = {name: as_object(field) for name, field in as_object(schema["properties"]).items()}
        required = as_list(schema.get("required"))
        values = {
            name: self._facts["url"] if name == "url" else self._value(field, (*path, name))
            for name, field in fields.items()
            # The URL leads to the same bytes.
            if name in required or name not in ("file_data", "content")
        }
        return {name: value for name, value in values.items() if value is not None or _accepts_null(fields[name])}

    def _array(self, schema: JsonObject, path: Path) -> list[Json]:
        if prefix := as_list(schema.get("prefixItems")):
            return [self._value(as_object(item), path) for item in prefix]
        items = as_object(schema.get("items"))
        per_file = _holds_file(items) or (_type(items) == "boolean" and "nsfw" in _name(path))
        count = max(self._options.count if per_file else 1, int(_bound(schema, "minItems", 0)))
        return [self._value(items, path) for _ in range(min(count, int(_bound(schema, "maxItems", count))))]

    def _string(self, schema: JsonObject, path: Path) -> str:
        name = _name(path)
        fact = self._facts.get(name)
        if isinstance(fact, str) and name != "url":
            return fact
        if _is_url(name, schema):
            kind, extension = classify_file(path, schema, self._endpoint)
            self._facts = self._media.publish(kind, extension, None)
            return str(self._facts["url"])
        if (text := _FORMATS.get(str(schema.get("format")))) is not None:
            return text
        if "pattern" in schema:
            examples = [schema.get("default"), *as_list(schema.get("examples"))]
            return next((example for example in examples if isinstance(example, str)), "")
        return self._text(schema, name)

    def _text(self, schema: JsonObject, name: str) -> str:
        """Returns the input's text of the same name, or a sentence with the prompt, within the length bounds."""
        text = self._options.fields.get(name)
        if not isinstance(text, str):
            text = f"Sandbox {name.replace('_', ' ')}: {self._options.prompt[:MAX_TEXT]}".rstrip(": ")
        text = text[: int(_bound(schema, "maxLength", len(text)))]
        return text.ljust(int(_bound(schema, "minLength", 0)), ".")

    def _number(self, schema: JsonObject, path: Path) -> int | float:
        whole = _type(schema) == "integer"
        value = self._known_number(_name(path), schema)
        low, high = _bound(schema, "minimum", -math.inf), _bound(schema, "maximum", math.inf)
        low = max(low, _bound(schema, "exclusiveMinimum", -math.inf) + (1 if whole else 1e-6))
        high = min(high, _bound(schema, "exclusiveMaximum", math.inf) - (1 if whole else 1e-6))
        value = min(max(value, low), high)
        if step := _bound(schema, "multipleOf", 0):
            value = math.ceil(value / step) * step
        return round(value) if whole else value

    def _known_number(self, name: str, schema: JsonObject) -> float:
        """Returns a number that the call or a file states, the default, or zero."""
        known: dict[str, Json] = {"seed": self._seed, **self._facts}
        for value in (known.get(name), self._options.fields.get(name), schema.get("default")):
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        return 0


def _name(path: Path) -> str:
    return path[-1] if path else ""


def _type(schema: JsonObject) -> str | None:
    """Returns the type, the first but null of several, or the type that the keywords imply."""
    declared = schema.get("type")
    if isinstance(declared, list):
        return next((str(item) for item in declared if item != "null"), "null")
    if isinstance(declared, str):
        return declared
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else None


def _is_file(schema: JsonObject) -> bool:
    """Returns True for an object with a `url`: the form of every file in fal's documents."""
    return isinstance(as_object(schema.get("properties")).get("url"), dict)


def _holds_file(schema: JsonObject) -> bool:
    """Returns True for a file, a list of files, and an object with a file in one of its fields."""
    if _is_file(schema):
        return True
    parts = [schema.get("items"), *as_list(schema.get("anyOf")), *as_object(schema.get("properties")).values()]
    return any(_holds_file(part) for part in parts if isinstance(part, dict))


def _is_url(name: str, schema: JsonObject) -> bool:
    return schema.get("format") in ("uri", "url") or _URL_FIELD.fullmatch(name) is not None


def _accepts_null(schema: JsonObject) -> bool:
    declared = schema.get("type")
    alternatives = [as_object(item).get("type") for item in as_list(schema.get("anyOf"))]
    return "null" in alternatives or declared == "null" or (isinstance(declared, list) and "null" in declared)


def _bound(schema: JsonObject, keyword: str, default: float) -> float:
    value = schema.get(keyword)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def _default_image_format(schema: JsonObject) -> str | None:
    """Returns the format in the default of a file's `content_type`."""
    default = as_object(as_object(schema["properties"]).get("content_type")).get("default")
    media, _, subtype = default.partition("/") if isinstance(default, str) else ("", "", "")
    return subtype if media == "image" and subtype in ("png", "jpeg", "webp") else None


def _merged(schema: JsonObject) -> JsonObject:
    """Returns one schema for an `allOf` of several: their properties and requirements together."""
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in map(as_object, as_list(schema["allOf"])):
        properties = {**as_object(merged.get("properties")), **as_object(part.get("properties"))}
        required = [*as_list(merged.get("required")), *as_list(part.get("required"))]
        merged = {**merged, **part}
        if properties:
            merged |= {"properties": properties, "required": required}
    return merged
