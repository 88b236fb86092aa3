"""How long fal keeps an uploaded file: `x-fal-object-lifecycle`, written anew from what was asked and allowed. Pure."""

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
    """*seconds* after which fal drops an upload; with "cap" a caller may ask for less, with "force" nobody is asked.

    None leaves it to the caller, and else to fal.
    """

    seconds: int | None = None
    mode: Literal["cap", "force"] = "cap"

    def forwarded_headers(self, fields: Fields) -> Fields:
        """The field that goes to fal, if any; *fields* are the caller's.

        Raises BadRequest for one that is not `{"expiration_duration_seconds": n}`: an `initial_acl` is not offered, and
        to drop it without a word would open a file that was to be closed.
        """
        values = [value for name, value in fields if name == FIELD]
        if len(values) > 1:
            raise _bad()
        asked = _asked(values[0]) if values else None
        seconds = self.seconds
        if asked is not None and self.mode == "cap":
            seconds = asked if seconds is None else min(asked, seconds)
        return () if seconds is None else ((FIELD, b'{"%b":%d}' % (_SECONDS.encode("ascii"), seconds)),)


def _asked(value: bytes) -> int | None:
    """Seconds; None for ever."""
    try:
        wanted = parse(value)
    except MalformedJson as error:
        raise _bad() from error
    if not isinstance(wanted, dict) or wanted.keys() - {_SECONDS}:
        raise _bad()
    seconds = wanted.get(_SECONDS)
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= MAX_SECONDS:
        raise _bad()
    return int(seconds)


def _bad() -> BadRequest:
    return BadRequest(
        f'The header {FIELD.decode("ascii")} takes {{"{_SECONDS}": n}} here, and nothing else', error_type="bad_header"
    )
