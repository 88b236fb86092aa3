"""Corrections of top-level fields before validation: null, unknown fields, numbers in text, a wrapper.

fal's documents lag behind its models, and generic clients send more than one model takes. The operator decides what
happens to a field that the document does not have; see docs/models.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from proxy.errors import FieldError, ValidationFailed
from proxy.near_names import did_you_mean
from proxy.payload.validation.coercion import Coercion
from proxy.payload.validation.error_messages import field_error
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json

UnknownFields: TypeAlias = Literal["refuse", "drop", "pass"]

MAX_COUNTED = 100  # names a metric keeps apart for one endpoint; callers choose them
MAX_REFUSED = 20
MAX_NEAR, MAX_NEAR_LENGTH = 5, 64  # names with a near name, and their characters: difflib takes 1 us a character
_OTHER = "other"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_WRAPPER = (
    "value_error",
    "The body is wrapped in `input`. The body of a request is the model's input itself: fal's clients take "
    "{input: …} as an argument and send only what is inside",
)


class UnknownFieldCounts:
    """Counts of fields that an endpoint's schema does not have, by name. At most 100 names are kept apart."""

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}

    def add(self, name: str) -> None:
        """Counts one request with the field *name*."""
        if name not in self.by_name and (len(self.by_name) >= MAX_COUNTED or _NAME.fullmatch(name) is None):
            name = _OTHER
        self.by_name[name] = self.by_name.get(name, 0) + 1


class Shape:
    """Top-level fields of one endpoint's input.

    *schema* is the effective schema. *hidden*: fields that the endpoint has but callers may not send.
    """

    def __init__(
        self, schema: dict[str, Json], *, unknown_fields: UnknownFields, coerce: bool, hidden: frozenset[str]
    ) -> None:
        properties = schema.get("properties")
        fields = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        self._fields: Mapping[str, Json] = fields
        self._known = fields.keys() | hidden
        # The document says that it takes further fields; then none is unknown.
        is_open = schema.get("additionalProperties") not in (None, False)
        self._unknown_fields: UnknownFields = "pass" if is_open else unknown_fields
        needed = frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else ()
        self._nullless = frozenset(n for n, field in fields.items() if n not in needed and _lacks_null(field))
        self._coercion = Coercion(schema) if coerce else None
        self.unknown = UnknownFieldCounts()

    def correct(self, value: dict[str, Json]) -> list[FieldError]:
        """Corrects *value* in place. Returns an error for each field that it may not have.

        Raises ValidationFailed for an input inside a wrapper.
        """
        if len(value) == 1 and "input" in value and "input" not in self._known and isinstance(value["input"], dict):
            raise ValidationFailed([field_error(["input"], *_WRAPPER)])
        if None in value.values():
            for name in [name for name, item in value.items() if item is None and name in self._nullless]:
                del value[name]
        errors = self._unknown(value) if not value.keys() <= self._known else []
        if self._coercion is not None:
            self._coercion.apply(value)
        return errors

    def _unknown(self, value: dict[str, Json]) -> list[FieldError]:
        names = [name for name in value if name not in self._known]
        # A body can have 100,000 names of any length: what costs time is done for a few of them.
        for name in names[:MAX_COUNTED]:
            self.unknown.add(name)
        if self._unknown_fields == "drop":
            for name in names:
                del value[name]
        if self._unknown_fields != "refuse":
            return []
        return [
            field_error([name], "extra_forbidden", f"This field is not one of the model's{self._near(name, place)}")
            for place, name in enumerate(names[:MAX_REFUSED])
        ]

    def _near(self, name: str, place: int) -> str:
        return did_you_mean(name, self._fields) if place < MAX_NEAR and len(name) <= MAX_NEAR_LENGTH else ""


def _lacks_null(field: Json) -> bool:
    """Returns whether *field* rejects null only for want of a word: documents before 2025 had none."""
    return isinstance(field, dict) and field.get("nullable") is not False and not Validator(field).admits(None)
