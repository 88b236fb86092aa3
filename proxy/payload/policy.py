"""What a caller may put into a request: the model's input schema, made tighter by the operator's rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from proxy.auth.authorization import Grant
from proxy.errors import ConfigError, FieldError, MalformedJson, Problem, ValidationFailed
from proxy.payload.body import Payload, parse_payload
from proxy.payload.caps import CapError, with_cap
from proxy.payload.files.input_files import FileRules, Inputs
from proxy.payload.validation.error_messages import field_error
from proxy.payload.validation.schema_file import Schema
from proxy.payload.validation.validator import MAX_VIOLATIONS, Validator
from proxy.strict_json import Json, dump, parse


@dataclass(frozen=True, slots=True)
class PayloadRules:
    """What an operator decides about single top-level fields of an endpoint's input.

    - *force*: the value sent whatever the caller says; the caller's own is dropped without a word.
    - *default*: the value sent where the caller leaves the field out.
    - *cap*: the most a caller may ask for: of a number its value, of a string its characters, of a list its items.
      Of choices that are numbers (`"1"`, `"2"`, `"4"`) those above it are gone. A cap never loosens the schema.
    - *forbid*: a request that has the field is refused.

    Only *default* and *cap* may name the same field.
    """

    force: Mapping[str, Json] = field(default_factory=dict)
    default: Mapping[str, Json] = field(default_factory=dict)
    cap: Mapping[str, int | float] = field(default_factory=dict)
    forbid: frozenset[str] = frozenset()

    def named(self) -> Iterator[tuple[str, str]]:
        """Every (rule, field), in the order they are to be applied."""
        for rule, names in (("cap", self.cap), ("default", self.default), ("force", self.force)):
            yield from ((rule, name) for name in names)
        yield from (("forbid", name) for name in sorted(self.forbid))


class EndpointPolicy:
    """*effective* is the input schema as callers meet it, rules included: the one they are validated against."""

    def __init__(
        self, endpoint: str, schema: Schema, rules: PayloadRules | None = None, files: FileRules | None = None
    ) -> None:
        """Raises ConfigError with every rule that does not go with *schema*, keyed `<endpoint>.<rule>.<field>`."""
        self.endpoint = endpoint
        self.output = schema.output
        self._rules = rules or PayloadRules()
        self.effective = _effective(endpoint, schema, self._rules)
        self._validator = Validator(self.effective)
        self._inputs = Inputs(files or FileRules(), self.effective)
        if faults := self._inputs.violations({**self._rules.default, **self._rules.force}):
            raise ConfigError([Problem(f"{endpoint}.files", f"{_place(fault)}: {fault['msg']}") for fault in faults])

    def admit(self, body: bytes) -> Payload:
        """Raises BadRequest where *body* is not strict JSON, ValidationFailed with all else that is wrong with it.

        An empty body counts as `{}`: fal's JavaScript client sends one for a call without input.
        """
        value = parse_payload(body)
        errors: list[FieldError] = []
        if isinstance(value, dict):
            errors = self._apply(value) + self._inputs.violations(value)
        errors += self._validator.violations(value)
        if errors or not isinstance(value, dict):
            raise ValidationFailed(errors[:MAX_VIOLATIONS])
        return Payload(self.endpoint, value, dump(value))

    def _apply(self, value: dict[str, Json]) -> list[FieldError]:
        forbidden = [name for name in value if name in self._rules.forbid] if self._rules.forbid else []
        for name in forbidden:
            del value[name]
        value.update(self._rules.force)
        for name, default in self._rules.default.items():
            value.setdefault(name, default)
        return [field_error([name], *_FORBIDDEN) for name in forbidden]


class Policy:
    def __init__(self, endpoints: Iterable[EndpointPolicy]) -> None:
        self._endpoints = {policy.endpoint: policy for policy in endpoints}

    def admit(self, grant: Grant, body: bytes) -> Payload:
        """As `EndpointPolicy.admit`, for the endpoint that *grant* is about."""
        return self._endpoints[grant.target.endpoint].admit(body)

    def effective(self, endpoint: str) -> Json:
        """The input schema of *endpoint* with its rules applied: free of references, not to be changed."""
        return self._endpoints[endpoint].effective

    def output(self, endpoint: str) -> Json:
        """The schema of what *endpoint* answers, None where it is not known."""
        return self._endpoints[endpoint].output


_FORBIDDEN = ("extra_forbidden", "This field is not accepted here")


def _place(fault: FieldError) -> str:
    return ".".join(str(step) for step in fault["loc"][1:])


class _Unfit(Exception):
    """Why a rule does not go with the schema of its field."""


def _effective(endpoint: str, schema: Schema, rules: PayloadRules) -> dict[str, Json]:
    fields = schema.fields()
    problems: list[Problem] = []
    for rule, name in rules.named():
        try:
            fields[name] = _changed(schema, rules, rule, name, fields.get(name))
        except _Unfit as exc:
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
    if node is None:
        raise _Unfit(f"is not a field of {schema.source}")
    others = {other for other, named in rules.named() if named == name} - {rule}
    if others and {rule, *others} != {"cap", "default"}:
        raise _Unfit(f"contradicts {' and '.join(sorted(others))} of the same field")
    if rule == "cap":
        return _capped(node, rules.cap[name], default_given=name in rules.default)
    if rule == "default":
        return {**node, "default": _fitting(node, rules.default[name])}
    if rule == "force":
        labels: dict[str, Json] = {label: node[label] for label in ("title", "description") if label in node}
        value = _fitting(node, rules.force[name])
        return {**labels, "const": value, "default": value}
    if name in schema.required():
        raise _Unfit("is a required field, no request could do without it")
    return node


def _fitting(node: dict[str, Json], value: Json) -> Json:
    if not _is_json(value):
        raise _Unfit("is not a value JSON has")
    if found := Validator(node).violations(value):
        where = "".join(f" at {step}" for step in found[0]["loc"][1:])
        raise _Unfit(f"does not fit the schema{where}: {found[0]['msg']}")
    return value


def _is_json(value: Json) -> bool:
    """TOML knows what JSON does not: dates, nan and inf."""
    try:
        return parse(dump(value)) == value
    except (MalformedJson, ValueError):
        return False


def _capped(node: dict[str, Json], limit: float, *, default_given: bool) -> dict[str, Json]:
    if isinstance(limit, bool) or not _is_json(limit):
        raise _Unfit("is not a number")
    try:
        tighter = with_cap(node, limit)
    except CapError as exc:
        raise _Unfit(f"cannot be capped: {exc}") from exc
    # Where the caller leaves the field out the model takes its own default, which must not go over the cap.
    if not default_given and "default" in node and _loses(node["default"], node, tighter):
        raise _Unfit("is below the default of the model itself; give a default for the field, too")
    return tighter


def _loses(value: Json, before: dict[str, Json], after: dict[str, Json]) -> bool:
    return not Validator(before).violations(value) and bool(Validator(after).violations(value))
