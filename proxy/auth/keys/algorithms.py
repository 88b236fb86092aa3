"""Signature algorithms of session tokens (RFC 7518 section 3.1, RFC 8037), and their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import get_algorithm_by_name
from jwt.algorithms import Algorithm

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

HMAC = "HS256"
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES: Mapping[str, type[EllipticCurve]] = {"ES256": SECP256R1, "ES384": SECP384R1, "ES512": SECP521R1}
PUBLIC = (*RSA, *CURVES, "EdDSA")

# Verification is PyJWT's; the configuration alone decides which of these an issuer may use (RFC 8725 section 3.1).
ALGORITHMS: Mapping[str, Algorithm] = {name: get_algorithm_by_name(name) for name in (HMAC, *PUBLIC)}


class KeyType(NamedTuple):
    """Requirements on a JWK: its `kty`, and the members that are octets (RFC 7518 section 6)."""

    kty: str
    octets: tuple[str, ...]


KEY_TYPES: Mapping[str, KeyType] = {
    **dict.fromkeys(RSA, KeyType("RSA", ("n", "e"))),
    **dict.fromkeys(CURVES, KeyType("EC", ("x", "y"))),
    "EdDSA": KeyType("OKP", ("x",)),
}


def fits(algorithm: str, key: object) -> bool:
    """Returns True where *key* has the type and the curve that *algorithm* takes."""
    match key:
        case RSAPublicKey():
            return algorithm in RSA
        case EllipticCurvePublicKey():
            return algorithm in CURVES and isinstance(key.curve, CURVES[algorithm])
        case Ed25519PublicKey():
            return algorithm == "EdDSA"
        case _:
            return False
