"""Platform options of a job: storage, lifetime of the output, fallback models and tags.

The operator's options are always sent. A stricter wish of the caller is sent too; what cannot be
honoured is rejected, never dropped in silence. Source: fal docs, common parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.errors import BadRequest
from proxy.http.fields import Fields
from proxy.payload.files.lifecycle import FIELD as UPLOAD_LIFETIME  # some clients send it with a submit, too
from proxy.payload.files.lifecycle import Lifecycle

STORE_IO = b"x-fal-store-io"
LIFETIME = b"x-fal-object-lifecycle-preference"
DISABLE_FALLBACK = b"x-app-fal-disable-fallback"
TAGS = b"x-fal-tags"
_NAMES = frozenset({STORE_IO, LIFETIME, UPLOAD_LIFETIME, DISABLE_FALLBACK, TAGS})

# Limits of fal's own clients: fal drops what is over them.
MAX_TAGS = 10
MAX_TAG_BYTES = 1024
TAG_NAME = re.compile(r"(?!fal\.)[a-z0-9._-]{1,64}")
TAG_VALUE = re.compile(r"[!-+\--<>-~]{1,256}")  # visible ASCII without `,` and `=`


@dataclass(frozen=True, slots=True)
class JobOptions:
    """Options of one endpoint. *store_io* and *fallback*: False forces them off. *lifetime* in seconds.

    *tags* are added to those of the caller and win over them.
    """

    store_io: bool = True
    lifetime: int | None = None
    fallback: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    _adds_any: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        adds_any = not (self.store_io and self.fallback) or self.lifetime is not None or bool(self.tags)
        object.__setattr__(self, "_adds_any", adds_any)

    def merge(self, options: Fields) -> Fields:
        """Returns *options*, the caller's checked header fields, with those of the endpoint.

        Raises BadRequest for a wish that fal would not understand.
        """
        asked = {name: value for name, value in options if name in _NAMES} if options else {}
        if not asked and not self._adds_any:
            return options
        merged = [(name, value) for name, value in options if name not in _NAMES]
        if not self.store_io or asked.get(STORE_IO) in (b"0", b"false"):
            merged.append((STORE_IO, b"0"))
        lifetimes = tuple((LIFETIME, value) for name, value in options if name in (LIFETIME, UPLOAD_LIFETIME))
        merged += Lifecycle(self.lifetime, field_name=LIFETIME).forwarded_headers(lifetimes)
        if not self.fallback or asked.get(DISABLE_FALLBACK) in (b"1", b"true", b"yes"):
            merged.append((DISABLE_FALLBACK, b"1"))
        if tags := {**_parse_tags(asked.get(TAGS, b"")), **self.tags}:
            merged.append((TAGS, format_tags(tags)))
        return tuple(merged)


def format_tags(tags: Mapping[str, str]) -> bytes:
    """Returns the value of the header field for *tags*. Raises BadRequest over fal's limits."""
    text = ",".join(f"{name}={value}" for name, value in tags.items()).encode("ascii")
    if len(tags) > MAX_TAGS or len(text) > MAX_TAG_BYTES:
        raise _bad_tags()
    return text


def _parse_tags(value: bytes) -> dict[str, str]:
    tags: dict[str, str] = {}
    for pair in value.decode("latin-1").split(",") if value else ():
        name, separator, text = pair.strip().partition("=")
        if not separator or TAG_NAME.fullmatch(name.lower()) is None or TAG_VALUE.fullmatch(text) is None:
            raise _bad_tags()
        tags[name.lower()] = text
    return tags


def _bad_tags() -> BadRequest:
    return BadRequest(
        f"The header x-fal-tags takes at most {MAX_TAGS} pairs name=value, {MAX_TAG_BYTES} bytes in all; names are of "
        "a-z, 0-9, dots, hyphens and underscores, and do not begin with fal.",
        error_type="bad_header",
    )
