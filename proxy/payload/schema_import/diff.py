"""Differences between two versions of a model's schema, in words: price-relevant fields first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from proxy.payload.validation.schema_file import Schema
from proxy.strict_json import Json

# Fields that fal's billing units are made of (fal docs, pricing), by the words of their names.
_PRICE_WORDS = frozenset(
    {"num", "images", "size", "resolution", "duration", "seconds", "frames", "fps", "width", "height", "audio"}
    | {"megapixels", "steps", "quality", "upscale", "factor", "scale", "tokens", "characters", "aspect"}
)
_KEYWORDS = (
    *("type", "enum", "const", "default", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "multipleOf", "pattern", "format"),
)
_MAX_SHOWN = 60


def schema_differences(old: Schema, new: Schema, priced: Iterable[str] = ()) -> list[str]:
    """Returns a line for each difference between *old* and *new*. *priced*: the fields of a price."""
    lines = list(_field_differences("input", old.fields(), new.fields()))
    lines += _required_differences(old, new)
    first = [line for line in lines if _is_priced(line, frozenset(priced))]
    rest = [line for line in lines if line not in first]
    return [*(f"{line} (price)" for line in first), *rest, *_output_differences(old.output, new.output)]


def _field_differences(
    place: str, old: Mapping[str, dict[str, Json]], new: Mapping[str, dict[str, Json]]
) -> Iterator[str]:
    for name in old:
        if name not in new:
            yield f"{place}.{name}: removed"
    for name, field in new.items():
        if name not in old:
            yield f"{place}.{name}: added ({_kind(field)})"
        elif field != old[name]:
            yield from _changes(f"{place}.{name}", old[name], field)


def _changes(place: str, old: dict[str, Json], new: dict[str, Json]) -> Iterator[str]:
    before, after = _flat(old), _flat(new)
    if _kind(old) != _kind(new):
        yield f"{place}: type {_kind(old)} -> {_kind(new)}"
    for keyword in _KEYWORDS[1:]:
        if before.get(keyword) == after.get(keyword):
            continue
        if keyword == "enum":
            yield from _choice_changes(place, before.get("enum"), after.get("enum"))
        else:
            yield f"{place}: {keyword} {_shown(before, keyword)} -> {_shown(after, keyword)}"
    members_before, members_after = _members(old), _members(new)
    if members_before != members_after:
        yield from _field_differences(place, members_before, members_after)


def _choice_changes(place: str, old: Json, new: Json) -> Iterator[str]:
    before, after = (choices if isinstance(choices, list) else [] for choices in (old, new))
    for word, choices in (
        ("choices added", [choice for choice in after if choice not in before]),
        ("choices removed", [choice for choice in before if choice not in after]),
    ):
        if choices:
            yield f"{place}: {word}: {', '.join(map(str, choices))}"


def _required_differences(old: Schema, new: Schema) -> list[str]:
    before, after = old.required(), new.required()
    lines = [f"input.{name}: is required now" for name in after if name not in before]
    return lines + [f"input.{name}: is optional now" for name in before if name not in after and name in new.fields()]


def _output_differences(old: Json, new: Json) -> Iterator[str]:
    yield from _field_differences("output", _properties(old), _properties(new))


def _is_priced(line: str, priced: frozenset[str]) -> bool:
    name = line.removeprefix("input.").split(":")[0].split(".")[0]
    return name in priced or bool(_PRICE_WORDS & set(name.lower().split("_")))


def _branches(field: dict[str, Json]) -> list[dict[str, Json]]:
    listed = field.get("anyOf", field.get("oneOf"))
    return [branch for branch in listed if isinstance(branch, dict)] if isinstance(listed, list) else []


def _flat(field: dict[str, Json]) -> dict[str, Json]:
    """Returns the keywords of *field* and of its alternatives; choices of several alternatives are joined."""
    flat = {keyword: field[keyword] for keyword in _KEYWORDS if keyword in field}
    for branch in _branches(field):
        for keyword, value in _flat(branch).items():
            known = flat.get(keyword)
            flat[keyword] = [*known, *value] if isinstance(known, list) and isinstance(value, list) else value
    return flat


def _kind(field: dict[str, Json]) -> str:
    kinds = [_kind(branch) for branch in _branches(field)]
    if not kinds:
        declared = field.get("type")
        kinds = [str(kind) for kind in declared] if isinstance(declared, list) else [str(declared or "any")]
    return " or ".join(dict.fromkeys(kinds))


def _members(field: dict[str, Json]) -> dict[str, dict[str, Json]]:
    members = _properties(field)
    for branch in [*_branches(field), *([field["items"]] if isinstance(field.get("items"), dict) else [])]:
        members |= _members(branch) if isinstance(branch, dict) else {}
    return members


def _properties(schema: Json) -> dict[str, dict[str, Json]]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    fields = properties if isinstance(properties, dict) else {}
    return {name: field for name, field in fields.items() if isinstance(field, dict)}


def _shown(flat: Mapping[str, Json], keyword: str) -> str:
    text = str(flat[keyword]) if keyword in flat else "none"
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
