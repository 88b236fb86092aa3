"""Strict parser of a compact JWS, before any cryptography (RFC 7515 7.1, RFC 8725 section 3).

A token that passes has one spelling and one meaning: its digest can stand for it, and no other parser can differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proxy import strict_json
from proxy.auth.base64url import decode_base64url
from proxy.errors import MalformedJson, Unauthenticated
from proxy.strict_json import Json

MAX_TOKEN = 8 * 1024  # bytes; the size common servers accept for one header line
MAX_TEXT = 256  # characters of alg, kid and typ
MAX_CACHED_KEY_BYTES = 512  # bytes of a header segment whose parsed form is cached

_MAX_DEPTH = 16

# Each changes what is verified or where the key comes from. Extensions, bare payloads: RFC 7515 4.1.11, RFC 7797.
# Compression and encryption: RFC 7516. Nesting: RFC 7519 5.2. Keys that the token itself brings: RFC 8725 3.10.
# The thumbprints x5t and x5t#S256 only identify a key; some issuers always send them, and they are ignored here.
_REFUSED = frozenset({"crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"})

_MINT = "let the app's backend mint a short JWT (docs/identity.md)"
_WRONG_SEGMENTS = {
    1: f"the token has not three segments: it is opaque, not a JWT; ask the provider for a JWT, or {_MINT}",
    5: f"the token has not three segments: it is encrypted (JWE), and only its issuer can read it; {_MINT}",
}


@dataclass(slots=True)
class Jws:
    """Parsed token with the header members that are honoured, and no other.

    Nothing in here is verified yet.

    *type* is the media type of `typ` in lower case without its `application/` (RFC 7515 section 4.1.9).
    """

    algorithm: Final[str]
    kid: Final[str | None]
    type: Final[str | None]
    claims: Final[dict[str, Json]]
    signing_input: Final[bytes]
    signature: Final[bytes]


def parse_jws(token: bytes) -> Jws:
    """Parses *token*, at most 8 KiB. Raises Unauthenticated, never anything else."""
    if len(token) > MAX_TOKEN:
        raise malformed("the token is too long")
    segments = token.split(b".", 5)
    if len(segments) != 3:
        raise malformed(_WRONG_SEGMENTS.get(len(segments), "the token has not three segments"))
    # The tokens of one issuer have a few headers between them.
    parse_header = _cached_header if len(segments[0]) <= MAX_CACHED_KEY_BYTES else _header
    algorithm, kid, media_type = parse_header(segments[0])
    return Jws(
        algorithm=algorithm,
        kid=kid,
        type=media_type,
        claims=_object(segments[1]),
        signing_input=token[: -len(segments[2]) - 1],
        signature=_decode(segments[2]),
    )


def malformed(reason: str) -> Unauthenticated:
    """Returns the refusal of a token that no issuer makes; such tokens count as failed logins."""
    return Unauthenticated(reason=reason, counts=True)


def _header(segment: bytes) -> tuple[str, str | None, str | None]:
    header = _object(segment)
    if refused := _REFUSED & header.keys():
        raise malformed(f"the token's header has {min(refused)}")
    algorithm = _text(header, "alg")
    if algorithm is None:
        raise malformed("the token's header has no alg")
    media_type = _text(header, "typ")
    kid = _text(header, "kid")
    return algorithm, kid, None if media_type is None else media_type.lower().removeprefix("application/")


_cached_header = lru_cache(maxsize=256)(_header)


def _decode(segment: bytes) -> bytes:
    try:
        return decode_base64url(segment)
    except ValueError as exc:
        raise malformed("a segment of the token is not canonical base64url") from exc


def _object(segment: bytes) -> dict[str, Json]:
    try:
        value = strict_json.parse(_decode(segment), max_depth=_MAX_DEPTH)
    except MalformedJson as exc:
        raise malformed(f"a segment of the token is not strict JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise malformed("a segment of the token is not a JSON object")
    return value


def _text(header: dict[str, Json], name: str) -> str | None:
    if name not in header:
        return None
    value = header[name]
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise malformed(f"{name} of the token's header is malformed")
    return value
