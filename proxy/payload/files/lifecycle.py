"""Lifetime of files at fal: a header field from the caller's wish and the operator's rule. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from proxy.errors import BadRequest, MalformedJson
from proxy.http.fields import Fields
from proxy.strict_json import parse

FIELD = b"x-fal-object-lifecycle"
MAX_SECONDS = 10 * 366 * 86_400
_SECONDS = "expiration_duration_seconds"  # fal docs, media expiration


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Lifetime in *seconds*, None for no rule. With "cap" a caller may ask for less, with "force" not.

    *field_name*: the header field; uploads and outputs have one each.
    """

    seconds: int | None = None
    mode: Literal["cap", "force"] = "cap"
    field_name: bytes = FIELD

    def forwarded_headers(self, fields: Fields) -> Fields:
        """Returns the field for fal, if any, from the caller's *fields*.

        Raises BadRequest for a value that is not `{"expiration_duration_seconds": n}`. An `initial_acl` is not
        offered, and without it a file that was to be private would be public.
        """
        values = [value for name, value in fields if name == self.field_name]
        if len(values) > 1:
            raise _bad(self.field_name)
        asked = _parse(values[0], self.field_name) if values else None
        seconds = self.seconds
        if asked is not None and self.mode == "cap":
            seconds = asked if seconds is None else min(asked, seconds)
        return () if seconds is None else ((self.field_name, b'{"%b":%d}' % (_SECONDS.encode("ascii"), seconds)),)


def _parse(value: bytes, field_name: bytes) -> int | None:
    """Returns the seconds of *value*, None for no end. Raises BadRequest."""
    try:
        lifecycle = parse(value)
    except MalformedJson as error:
        raise _bad(field_name) from error
    if not isinstance(lifecycle, dict) or lifecycle.keys() - {_SECONDS}:
        raise _bad(field_name)
    seconds = lifecycle.get(_SECONDS)
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= MAX_SECONDS:
        raise _bad(field_name)
    return int(seconds)


def _bad(field_name: bytes) -> BadRequest:
    return BadRequest(
        f'The header {field_name.decode("ascii")} takes {{"{_SECONDS}": n}} here, and nothing else',
        error_type="bad_header",
    )
