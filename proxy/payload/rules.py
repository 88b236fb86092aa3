"""Operator's rules for single fields of an endpoint's input, written into its schema.

The result is the effective schema: what callers are validated against, and what `openapi.json` publishes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from proxy.errors import ConfigError, MalformedJson, Problem
from proxy.near_names import did_you_mean
from proxy.payload.caps import CapError, with_cap
from proxy.payload.validation.schema_file import Schema
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json, dump, parse


@dataclass(frozen=True, slots=True)
class PayloadRules:
    """Rules for top-level fields of an endpoint's input.

    - *force*: the value that is always sent. The caller's own is dropped.
    - *default*: the value that is sent where the caller leaves the field out.
    - *cap*: the largest accepted value of a number, number of characters of a string, or number of items of a list.
      Choices that are numbers (`"1"`, `"2"`, `"4"`) above it are removed. A cap never loosens the schema.
    - *forbid*: a request with this field is rejected.

    Only *default* and *cap* may name the same field.
    """

    force: Mapping[str, Json] = field(default_factory=dict)
    default: Mapping[str, Json] = field(default_factory=dict)
    cap: Mapping[str, int | float] = field(default_factory=dict)
    forbid: frozenset[str] = frozenset()

    def by_field(self) -> Iterator[tuple[str, str]]:
        """Yields every (rule, field) in the order of application."""
        for rule, names in (("cap", self.cap), ("default", self.default), ("force", self.force)):
            yield from ((rule, name) for name in names)
        yield from (("forbid", name) for name in sorted(self.forbid))


class _RuleError(Exception):
    """A rule that contradicts the schema of its field."""


def effective_schema(endpoint: str, schema: Schema, rules: PayloadRules) -> dict[str, Json]:
    """Returns the input schema of *schema* with *rules* applied.

    Raises ConfigError with every rule that does not fit the schema, keyed `<endpoint>.<rule>.<field>`.
    """
    fields = schema.fields()
    problems: list[Problem] = []
    for rule, name in rules.by_field():
        try:
            fields[name] = _changed(schema, rules, rule, name, fields.get(name))
        except _RuleError as exc:
            problems.append(Problem(f"{endpoint}.{rule}.{name}", str(exc)))
    if problems:
        raise ConfigError(problems)
    order = schema.input.get("x-fal-order-properties")
    properties: dict[str, Json] = {name: node for name, node in fields.items() if name not in rules.forbid}
    effective: dict[str, Json] = {
        **schema.input,
        "properties": properties,
        "required": [name for name in schema.required() if "default" not in fields.get(name, {})],
    }
    if isinstance(order, list):
        effective["x-fal-order-properties"] = [name for name in order if name not in rules.forbid]
    return effective


def _changed(
    schema: Schema, rules: PayloadRules, rule: str, name: str, node: dict[str, Json] | None
) -> dict[str, Json]:
    if node is None and not schema.is_untyped:
        near = did_you_mean(name, schema.fields())
        raise _RuleError(f"is not a field of {PurePath(schema.source).name}{near}")
    node = node or {}
    others = {other for other, field_name in rules.by_field() if field_name == name} - {rule}
    if others and {rule, *others} != {"cap", "default"}:
        raise _RuleError(f"contradicts {' and '.join(sorted(others))} of the same field")
    if rule == "cap":
        return _capped(node, rules.cap[name], default_given=name in rules.default)
    if rule == "default":
        return {**node, "default": _checked_value(node, rules.default[name])}
    if rule == "force":
        labels: dict[str, Json] = {label: node[label] for label in ("title", "description") if label in node}
        value = _checked_value(node, rules.force[name])
        return {**labels, "const": value, "default": value}
    if name in schema.required():
        raise _RuleError("is a required field, so every request would be rejected")
    return node


def _checked_value(node: dict[str, Json], value: Json) -> Json:
    if not _is_json(value):
        raise _RuleError("is not a value JSON has")
    if errors := Validator(node).violations(value):
        where = "".join(f" at {step}" for step in errors[0]["loc"][1:])
        raise _RuleError(f"does not fit the schema{where}: {errors[0]['msg']}")
    return value


def _is_json(value: Json) -> bool:
    """Returns whether *value* is one that JSON has. TOML also has dates, nan and inf."""
    try:
        return parse(dump(value)) == value
    except (MalformedJson, ValueError):
        return False


def _capped(node: dict[str, Json], limit: float, *, default_given: bool) -> dict[str, Json]:
    if isinstance(limit, bool) or not _is_json(limit):
        raise _RuleError("is not a number")
    try:
        tighter = with_cap(node, limit)
    except CapError as exc:
        raise _RuleError(f"cannot be capped: {exc}") from exc
    # Where the caller leaves the field out, the model takes its own default, which must not be over the cap.
    if not default_given and "default" in node and _exceeds_cap(node["default"], node, tighter):
        raise _RuleError("is below the default of the model itself; give a default for the field, too")
    return tighter


def _exceeds_cap(value: Json, before: dict[str, Json], after: dict[str, Json]) -> bool:
    return not Validator(before).violations(value) and bool(Validator(after).violations(value))
