"""Session tokens for development and the demo. In production the application's own login service mints them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proxy.auth.keys.algorithms import ALGORITHMS, HMAC
from proxy.auth.keys.hmac_secret import hmac_key
from proxy.strict_json import Json

_NO_CLAIMS: Mapping[str, Json] = MappingProxyType({})


def mint(
    *,
    algorithm: str,
    key: bytes,
    issuer: str,
    audience: str,
    subject: str,
    lifetime: float,
    now: float,
    kid: str | None = None,
    scopes: Collection[str] = (),
    claims: Mapping[str, Json] = _NO_CLAIMS,
) -> str:
    """A JWT of *subject*, good from *now* (seconds since the epoch) for *lifetime* seconds.

    *key* is the secret of HS256, or the private key of RS256, ES256 or EdDSA as PEM or JWK. *claims* come on top, and
    cannot replace what the other arguments say. Raises ValueError where *key* is not a good one for *algorithm*.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"the algorithm must be one of {', '.join(ALGORITHMS)}")
    payload = {
        **claims,
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "iat": int(now),
        "exp": int(now + lifetime),
        **({"scope": " ".join(scopes)} if scopes else {}),
    }
    headers = None if kid is None else {"kid": kid}
    return jwt.encode(payload, _signing_key(algorithm, key), algorithm=algorithm, headers=headers)


def _signing_key(algorithm: str, key: bytes) -> bytes | RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey:
    if algorithm == HMAC:
        hmac_key(key)
        return key
    match algorithm, _private_key(algorithm, key):
        case "RS256", RSAPrivateKey() as private:
            return private
        case "ES256", EllipticCurvePrivateKey(curve=SECP256R1()) as private:
            return private
        case "EdDSA", Ed25519PrivateKey() as private:
            return private
    raise ValueError(f"the key is not a private one for {algorithm}")


def _private_key(algorithm: str, key: bytes) -> object:
    try:
        if key.lstrip().startswith(b"{"):
            return jwt.PyJWK.from_json(key.decode(), algorithm).key
        return load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, jwt.PyJWTError):  # a TypeError is an encrypted PEM
        raise ValueError("the key is neither an unencrypted private PEM nor a JWK") from None
