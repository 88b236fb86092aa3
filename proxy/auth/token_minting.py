"""Minting of session tokens for development, the demo and guests.

Elsewhere the app's login service mints them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proxy.auth.keys.algorithms import ALGORITHMS, HMAC, fits
from proxy.auth.keys.hmac_secret import hmac_key
from proxy.auth.keys.verification_key import VerificationKey
from proxy.strict_json import Json

_NO_CLAIMS: Mapping[str, Json] = MappingProxyType({})


def mint(
    *,
    algorithm: str,
    key: bytes,
    issuer: str,
    audience: str | None,
    subject: str,
    lifetime: float,
    now: float,
    kid: str | None = None,
    scopes: Collection[str] = (),
    claims: Mapping[str, Json] = _NO_CLAIMS,
) -> str:
    """Returns a JWT of *subject* that holds from *now* (seconds since the epoch) for *lifetime* seconds.

    *key* is the secret of HS256, or a private key as PEM or JWK. *audience* may be None. *claims* come on top, and
    cannot replace the other arguments. Raises ValueError where *key* is not a good one for *algorithm*.
    """
    payload = {
        **claims,
        "iss": issuer,
        **({} if audience is None else {"aud": audience}),
        "sub": subject,
        "iat": int(now),
        "exp": int(now + lifetime),
        **({"scope": " ".join(scopes)} if scopes else {}),
    }
    signing_key = _signing_key(algorithm, key)
    return jwt.encode(payload, signing_key, algorithm=algorithm, headers=None if kid is None else {"kid": kid})


def fitting_algorithm(key: bytes, algorithms: Sequence[str]) -> str:
    """Returns the first of *algorithms* that the private *key* (PEM or JWK) signs with. Raises ValueError."""
    for algorithm in algorithms:
        with suppress(ValueError):
            _signing_key(algorithm, key)
            return algorithm
    raise ValueError(f"the key is not an unencrypted private PEM or JWK for {', '.join(algorithms)}")


def public_part(algorithm: str, key: bytes, kid: str | None) -> VerificationKey:
    """Returns the key that verifies what the private *key* signs. Raises ValueError."""
    signing_key = _signing_key(algorithm, key)
    if isinstance(signing_key, bytes):
        return hmac_key(signing_key, kid)
    return VerificationKey(algorithm, kid, signing_key.public_key())


def _signing_key(algorithm: str, key: bytes) -> bytes | RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey:
    if algorithm not in ALGORITHMS:
        raise ValueError(f"the algorithm must be one of {', '.join(ALGORITHMS)}")
    if algorithm == HMAC:
        hmac_key(key)
        return key
    private = _private_key(algorithm, key)
    if isinstance(private, RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey) and fits(
        algorithm, private.public_key()
    ):
        return private
    raise ValueError(f"the key is not a private one for {algorithm}")


def _private_key(algorithm: str, key: bytes) -> object:
    try:
        if key.lstrip().startswith(b"{"):
            return jwt.PyJWK.from_json(key.decode(), algorithm).key
        return load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, jwt.PyJWTError):  # a TypeError is an encrypted PEM
        raise ValueError("the key is neither an unencrypted private PEM nor a JWK") from None
