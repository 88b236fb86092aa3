"""Payload policy of the listed endpoints: the operator's rules, file rules and the model's schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proxy.auth.authorization import Grant
from proxy.errors import ConfigError, FieldError, Problem, ValidationFailed
from proxy.http.fields import Fields
from proxy.payload.body import MAX_ELEMENTS, Payload, parse_payload
from proxy.payload.body_thread import Steps
from proxy.payload.files.input_files import FileRules, Inputs
from proxy.payload.job_options import JobOptions
from proxy.payload.rules import PayloadRules, effective_schema
from proxy.payload.shape import Shape, UnknownFields
from proxy.payload.validation.error_messages import field_error
from proxy.payload.validation.schema_file import Schema
from proxy.payload.validation.validator import MAX_VIOLATIONS, Validator
from proxy.strict_json import Json, dump

_FORBIDDEN = ("extra_forbidden", "This field is not accepted here")


class EndpointPolicy:
    """Payload policy of one endpoint. *effective*: the input schema with the operator's rules."""

    def __init__(
        self,
        endpoint: str,
        schema: Schema,
        rules: PayloadRules | None = None,
        files: FileRules | None = None,
        *,
        unknown_fields: UnknownFields = "refuse",
        coerce: bool = False,
        job_options: JobOptions | None = None,
        max_elements: int = MAX_ELEMENTS,
    ) -> None:
        """Raises ConfigError with every rule that does not fit *schema*, keyed `<endpoint>.<rule>.<field>`."""
        self.endpoint = endpoint
        self._max_elements = max_elements
        self.job_options = job_options or JobOptions()
        self.output = schema.output
        self.is_untyped = schema.is_untyped
        self.warnings = schema.warnings
        self._rules = rules or PayloadRules()
        self.effective = effective_schema(endpoint, schema, self._rules)
        self._shape = Shape(
            self.effective,
            unknown_fields="pass" if schema.is_untyped else unknown_fields,
            coerce=coerce,
            hidden=self._rules.forbid | self._rules.force.keys(),
        )
        self._validator = Validator(self.effective)
        self._inputs = Inputs(files or FileRules(), self.effective)
        if errors := self._inputs.violations({**self._rules.default, **self._rules.force}):
            raise ConfigError([Problem(f"{endpoint}.files", f"{_place(error)}: {error['msg']}") for error in errors])

    @property
    def unknown_fields(self) -> Iterable[tuple[str, int]]:
        """Fields that requests had and the schema has not, with their counts."""
        return self._shape.unknown.by_name.items()

    def admit(self, body: bytes) -> Payload:
        """Returns the payload to send for the request body *body*; an empty one counts as `{}`.

        Raises BadRequest where *body* is not strict JSON, ContentTooLarge where it has too many values, and
        ValidationFailed with every other fault.
        """
        value = parse_payload(body, max_elements=self._max_elements)
        checked = self._validated(value, self._correct(value))
        return Payload(self.endpoint, checked, dump(checked))

    def steps(self, body: bytes) -> Steps[Payload]:
        """Does the same as `admit`, and yields between its parts, each of which takes long for a large body."""
        value = parse_payload(body, max_elements=self._max_elements)
        yield
        errors = self._correct(value)
        yield
        checked = self._validated(value, errors)
        yield
        return Payload(self.endpoint, checked, dump(checked))

    def _correct(self, value: Json) -> list[FieldError]:
        """Applies shape and rules to *value* in place. Returns the errors of fields and files."""
        if not isinstance(value, dict):
            return []
        errors = self._shape.correct(value)
        errors += self._apply_rules(value)
        errors += self._inputs.violations(value)
        return errors

    def _validated(self, value: Json, errors: list[FieldError]) -> dict[str, Json]:
        """Returns *value*. Raises ValidationFailed for *errors* and for those of the schema."""
        if errors or not isinstance(value, dict) or not self._validator.admits(value):
            errors += self._validator.violations(value)
            raise ValidationFailed(errors[:MAX_VIOLATIONS])
        return value

    def _apply_rules(self, value: dict[str, Json]) -> list[FieldError]:
        forbidden = [name for name in value if name in self._rules.forbid] if self._rules.forbid else []
        for name in forbidden:
            del value[name]
        value.update(self._rules.force)
        for name, default in self._rules.default.items():
            value.setdefault(name, default)
        return [field_error([name], *_FORBIDDEN) for name in forbidden] if forbidden else []


class Policy:
    """Payload policies by endpoint."""

    def __init__(self, endpoints: Iterable[EndpointPolicy]) -> None:
        self._endpoints = {policy.endpoint: policy for policy in endpoints}

    def admit(self, grant: Grant, body: bytes) -> Payload:
        """Returns the payload for the endpoint of *grant*. Raises as `EndpointPolicy.admit`."""
        return self._endpoints[grant.target.endpoint].admit(body)

    def steps(self, grant: Grant, body: bytes) -> Steps[Payload]:
        """Yields between the steps of `admit`."""
        return self._endpoints[grant.target.endpoint].steps(body)

    def job_options(self, grant: Grant, options: Fields) -> Fields:
        """Returns *options*, the caller's header fields, merged with those of the endpoint. Raises BadRequest."""
        return self._endpoints[grant.target.endpoint].job_options.merge(options)

    def effective(self, endpoint: str) -> Json:
        """Returns the effective input schema of *endpoint*, free of references. It must not be changed."""
        return self._endpoints[endpoint].effective

    def output(self, endpoint: str) -> Json:
        """Returns the schema of the result of *endpoint*, None where it is not known."""
        return self._endpoints[endpoint].output

    def unknown_fields(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Yields the requests by (endpoint, field) that had a field which the schema has not."""
        for endpoint, policy in self._endpoints.items():
            # A copy: the thread of large bodies may add a name meanwhile.
            yield from (((endpoint, name), count) for name, count in tuple(policy.unknown_fields))


def _place(error: FieldError) -> str:
    return ".".join(str(step) for step in error["loc"][1:])
