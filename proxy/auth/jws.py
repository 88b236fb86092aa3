"""Strict reading of a compact JWS before any cryptography (RFC 7515 section 7.1, RFC 8725 section 3).

A token that passes has one spelling and one meaning: its digest may stand for it, and no other parser can differ.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache

from proxy import strict_json
from proxy.errors import MalformedJson, Unauthenticated
from proxy.strict_json import Json

MAX_TOKEN = 8 * 1024  # bytes; what common servers take for one header line
MAX_TEXT = 256  # characters of alg, kid and typ

MEMORABLE = 512  # bytes of a header segment whose reading is remembered

_MAX_DEPTH = 16

# Each changes what is verified or whence the key comes: extensions and bare payloads (RFC 7515 4.1.11, RFC 7797),
# compression and encryption (RFC 7516), nesting (RFC 7519 5.2), keys the token itself names or brings (RFC 8725 3.10).
# The thumbprints x5t and x5t#S256 only name a key, some issuers always send them, and nobody here reads them.
_REFUSED = frozenset({"crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"})


@dataclass(frozen=True, slots=True)
class Jws:
    """The header members that are honoured, and no other; nothing in here is verified yet.

    *type* is the media type of `typ` in lower case without its `application/` (RFC 7515 section 4.1.9).
    """

    algorithm: str
    kid: str | None
    type: str | None
    claims: dict[str, Json]
    signing_input: bytes
    signature: bytes


def parse(token: bytes) -> Jws:
    """The parts of *token*, at most 8 KiB. Raises Unauthenticated, never anything else."""
    if len(token) > MAX_TOKEN:
        raise Unauthenticated(reason="the token is too long")
    segments = token.split(b".", 3)
    if len(segments) != 3:
        raise Unauthenticated(reason="the token has not three segments")
    # All tokens of an issuer begin alike.
    algorithm, kid, media_type = (_header_remembered if len(segments[0]) <= MEMORABLE else _header)(segments[0])
    return Jws(
        algorithm=algorithm,
        kid=kid,
        type=media_type,
        claims=_object(segments[1]),
        signing_input=token[: -len(segments[2]) - 1],
        signature=_decoded(segments[2]),
    )


def _header(segment: bytes) -> tuple[str, str | None, str | None]:
    header = _object(segment)
    if refused := _REFUSED & header.keys():
        raise Unauthenticated(reason=f"the token's header has {min(refused)}")
    algorithm = _text(header, "alg")
    if algorithm is None:
        raise Unauthenticated(reason="the token's header has no alg")
    media_type = _text(header, "typ")
    kid = _text(header, "kid")
    return algorithm, kid, None if media_type is None else media_type.lower().removeprefix("application/")


_header_remembered = lru_cache(maxsize=256)(_header)


def decode_base64url(text: bytes) -> bytes:
    """The octets of *text*, which must be their one unpadded spelling (RFC 7515 section 2). Raises ValueError."""
    octets = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    # The decoder skips foreign characters, takes `+/`, excess padding and stray last bits; none survives the way back.
    if urlsafe_b64encode(octets).rstrip(b"=") != text:
        raise ValueError("not canonical base64url")
    return octets


def _decoded(segment: bytes) -> bytes:
    try:
        return decode_base64url(segment)
    except ValueError as exc:
        raise Unauthenticated(reason="a segment of the token is not canonical base64url") from exc


def _object(segment: bytes) -> dict[str, Json]:
    try:
        value = strict_json.parse(_decoded(segment), max_depth=_MAX_DEPTH)
    except MalformedJson as exc:
        raise Unauthenticated(reason=f"a segment of the token is not strict JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise Unauthenticated(reason="a segment of the token is not a JSON object")
    return value


def _text(header: dict[str, Json], name: str) -> str | None:
    if name not in header:
        return None
    value = header[name]
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise Unauthenticated(reason=f"{name} of the token's header is malformed")
    return value
