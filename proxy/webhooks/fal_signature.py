"""Signature of fal's webhooks (fal docs, webhooks). Pure.

fal signs for every account it has: a good signature proves that fal says this of some job, not that the job is ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy import strict_json
from proxy.auth.keys.public_key import public_key
from proxy.auth.keys.verification_key import VerificationKey
from proxy.errors import MalformedJson
from proxy.http.fields import Fields
from proxy.strict_json import Json

TOLERANCE = 300  # seconds a timestamp may be off
MAX_KEYS = 20

_PREFIX = b"x-fal-webhook-"
_FORMS: Mapping[bytes, re.Pattern[bytes]] = {
    b"request-id": re.compile(rb"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"),
    b"user-id": re.compile(rb"[!-~]{1,128}"),
    b"timestamp": re.compile(rb"[1-9][0-9]{0,11}"),
    b"signature": re.compile(rb"[0-9A-Fa-f]{128}"),
}


@dataclass(frozen=True, slots=True)
class WebhookHeaders:
    """Headers of one webhook, not yet verified. *timestamp* as sent, because its digits are signed."""

    request_id: str
    user_id: str
    timestamp: str
    signature: bytes

    def is_fresh(self, now: float) -> bool:
        return abs(now - int(self.timestamp)) <= TOLERANCE

    def verify(self, keys: Iterable[VerificationKey], body: bytes) -> bool:
        """Returns True where one of *keys* signed these headers with *body*."""
        digest = hashlib.sha256(body).hexdigest()
        message = "\n".join((self.request_id, self.user_id, self.timestamp, digest)).encode()
        return any(key.verify(message, self.signature) for key in keys)


def parse_webhook_headers(fields: Fields) -> WebhookHeaders:
    """Returns the four headers. Raises ValueError where one is missing, malformed or repeated."""
    values: dict[bytes, bytes] = {}
    for field, value in fields:
        name = field.removeprefix(_PREFIX)
        if name == field or name not in _FORMS:
            continue
        if name in values or _FORMS[name].fullmatch(value) is None:
            raise ValueError(f"the header {field.decode('ascii')} is malformed")
        values[name] = value
    if missing := _FORMS.keys() - values.keys():
        raise ValueError(f"the header {(_PREFIX + min(missing)).decode('ascii')} is missing")
    text = {name: value.decode("ascii") for name, value in values.items()}
    return WebhookHeaders(text[b"request-id"], text[b"user-id"], text[b"timestamp"], bytes.fromhex(text[b"signature"]))


def parse_jwks(jwks: bytes) -> tuple[VerificationKey, ...]:
    """Returns the Ed25519 keys of a JWK set (RFC 7517 section 5), which may have keys of other kinds.

    Raises ValueError where it is no set, holds none that is usable, or too many, or a private one.
    """
    try:
        document = strict_json.parse(jwks, max_depth=8, max_nodes=2000)
    except MalformedJson as error:
        raise ValueError(f"the key set is not strict JSON: {error}") from error
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_KEYS:
        raise ValueError(f"the key set does not list 1 to {MAX_KEYS} keys")
    keys = tuple(public_key("EdDSA", strict_json.dump(_with_alg(jwk))) for jwk in listed if _is_ed25519(jwk))
    if not keys:
        raise ValueError("the key set has no Ed25519 key")
    return keys


def _is_ed25519(jwk: Json) -> bool:
    if not isinstance(jwk, dict):
        raise ValueError("a key of the set is not an object")  # noqa: TRY004 the set is wrong, not a type of ours
    return jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519" and jwk.get("use", "sig") == "sig"


def _with_alg(jwk: Json) -> Json:
    """Returns the key with the algorithm name EdDSA: RFC 9864 calls it Ed25519 over this curve."""
    return {**jwk, "alg": "EdDSA"} if isinstance(jwk, dict) and jwk.get("alg") == "Ed25519" else jwk
