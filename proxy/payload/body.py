"""Request bodies: strict JSON in, and the validated payload that is sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from proxy.errors import BadRequest, ContentTooLarge, MalformedJson
from proxy.strict_json import TOO_MANY, Json, parse

MAX_ELEMENTS = 20_000  # values in one body: their parse holds the interpreter lock for some 30 ms
MOST_ELEMENTS = 200_000


@dataclass(frozen=True, slots=True)
class Payload:
    """A request body that may be sent: *raw* is the text of *value*, the value that was validated."""

    endpoint: str
    value: dict[str, Json]
    raw: bytes
    _digest: bytes | None = field(default=None, repr=False, compare=False)

    def digest(self) -> bytes:
        """Returns the SHA-256 of *raw*, which is computed once."""
        if self._digest is None:
            object.__setattr__(self, "_digest", hashlib.sha256(self.raw).digest())
        return self._digest or b""

    def drop_value(self) -> None:
        """Frees the value, of which only the text is needed once it is priced."""
        self.value.clear()


def parse_payload(body: bytes, *, max_elements: int = MAX_ELEMENTS) -> Json:
    """Returns the value of *body*, `{}` for an empty one. Raises BadRequest where it is not strict JSON.

    Raises ContentTooLarge where it has more than *max_elements* values, each object, list and member's value counted.

    fal's JavaScript client sends an empty body for a call without input.
    """
    if not body:
        return {}
    try:
        return parse(body, max_nodes=max_elements)
    except MalformedJson as exc:
        if str(exc) == TOO_MANY:
            detail = f"The body has more than {max_elements} values: objects, lists, texts, numbers"
            raise ContentTooLarge(detail, error_type="too_many_elements") from exc
        raise BadRequest(f"Malformed JSON: {exc}", error_type="malformed_json") from exc
