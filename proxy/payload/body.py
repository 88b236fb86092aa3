"""Request bodies: strict JSON in, and the validated payload that is sent."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.errors import BadRequest, MalformedJson
from proxy.strict_json import Json, parse


@dataclass(frozen=True, slots=True)
class Payload:
    """A request body that may be sent: *raw* is the text of *value*, the value that was validated."""

    endpoint: str
    value: dict[str, Json]
    raw: bytes


def parse_payload(body: bytes) -> Json:
    """Returns the value of *body*, `{}` for an empty one. Raises BadRequest where it is not strict JSON.

    fal's JavaScript client sends an empty body for a call without input.
    """
    if not body:
        return {}
    try:
        return parse(body)
    except MalformedJson as exc:
        raise BadRequest(f"Malformed JSON: {exc}", error_type="malformed_json") from exc
