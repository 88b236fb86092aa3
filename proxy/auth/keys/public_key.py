"""Public keys that verify session tokens, read from PEM, an X.509 certificate or a JWK (RFC 7517)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt import InvalidKeyError

from proxy import strict_json
from proxy.auth.base64url import decode_base64url
from proxy.auth.keys.algorithms import ALGORITHMS, KEY_TYPES, PUBLIC, PublicKey, fits
from proxy.auth.keys.verification_key import VerificationKey
from proxy.errors import MalformedJson
from proxy.strict_json import Json

_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"

# A modulus that is a power of 65537 modulo each of these came from the generator of CVE-2017-15361.
_ROCA = {
    prime: frozenset(pow(65537, power, prime) for power in range(prime))
    for prime in (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
}


def public_key(algorithm: str, material: bytes, kid: str | None = None) -> VerificationKey:
    """Returns the key of *algorithm* in *material*: one PEM block (key or certificate) or one JWK.

    A JWK's own `kid` counts where *kid* is None. Raises ValueError with the fault, without quoting the key.
    """
    if algorithm not in PUBLIC:
        raise ValueError(f"the algorithm of a public key must be one of {', '.join(PUBLIC)}")
    if not material.lstrip().startswith(b"{"):
        return pem_key((algorithm,), material, kid)
    try:
        jwk = strict_json.parse(material, max_depth=8)
    except MalformedJson as exc:
        raise ValueError(f"the JWK is not strict JSON: {exc}") from None
    if not isinstance(jwk, dict):
        raise ValueError("the JWK is not a JSON object")  # noqa: TRY004 a fault of the file
    return jwk_key((algorithm,), jwk, kid)


def pem_key(algorithms: Sequence[str], material: bytes, kid: str | None = None) -> VerificationKey:
    """Returns the key in one PEM block, bound to the first of *algorithms* that fits it.

    The block is a `PUBLIC KEY` or a `CERTIFICATE`.

    The dates of a certificate are not looked at. Raises ValueError.
    """
    if b"PRIVATE KEY" in material:
        raise ValueError("this is a private key; the gateway needs only the public one: openssl pkey -pubout")
    if material.count(b"-----BEGIN") != 1:
        raise ValueError("the key must be one PEM block or one JWK")
    return _bound(algorithms, _load_pem(material), kid)


def jwk_key(algorithms: Sequence[str], jwk: Mapping[str, Json], kid: str | None = None) -> VerificationKey:
    """Returns the key of one JWK: for its own `alg`, else for the first of *algorithms* that fits it.

    Raises ValueError for a private key, one that is not for verifying, and one that none of *algorithms* takes.
    """
    fitting = [name for name in algorithms if KEY_TYPES[name].kty == jwk.get("kty")]
    if not fitting:
        kinds = " or ".join(sorted({KEY_TYPES[name].kty for name in algorithms}))
        raise ValueError(f"the JWK's kty is not {kinds}, which {', '.join(algorithms)} needs")
    if _PRIVATE & jwk.keys():
        raise ValueError("the JWK holds a private key; the gateway needs only the public one")
    octets = KEY_TYPES[fitting[0]].octets
    if not all(isinstance(jwk.get(name), str) for name in octets):
        raise ValueError(f"the JWK lacks {' or '.join(octets)}, or one is not a string")
    fitting = [name for name in fitting if jwk.get("alg", name) == name]
    operations = jwk.get("key_ops", ["verify"])
    if not fitting or jwk.get("use", "sig") != "sig":
        raise ValueError(f"the JWK's alg or use is not for {', '.join(algorithms)} signatures")
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("the JWK's key_ops do not include verify")
    own = jwk.get("kid", kid)
    if not (own is None or isinstance(own, str)) or kid not in (None, own):
        raise ValueError("the JWK's kid is not a string, or not the one configured")
    return _bound(fitting, _load_jwk(fitting[0], jwk), own)


def _load_pem(material: bytes) -> object:
    try:
        if _CERTIFICATE in material:
            return load_pem_x509_certificate(material).public_key()
        return load_pem_public_key(material)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the PEM block is not a usable public key or certificate") from None


def _load_jwk(algorithm: str, jwk: Mapping[str, Json]) -> object:
    try:
        for name in KEY_TYPES[algorithm].octets:
            decode_base64url(str(jwk[name]).encode("ascii"))
        return ALGORITHMS[algorithm].from_jwk(dict(jwk))
    except (ValueError, InvalidKeyError):
        raise ValueError("the JWK is not a usable public key") from None


def _bound(algorithms: Sequence[str], key: object, kid: str | None) -> VerificationKey:
    """Binds *key* to one algorithm, as RFC 8725 section 3.1 asks. Raises ValueError."""
    for algorithm in algorithms:
        if fits(algorithm, key):
            return VerificationKey(algorithm, kid, _checked(key))
    raise ValueError(f"the key's type or curve is not the one of {' or '.join(algorithms)}")


def _checked(key: object) -> PublicKey:
    if isinstance(key, RSAPublicKey) and (fault := _rsa_weakness(key)) is not None:
        raise ValueError(f"the RSA key {fault}")
    if not isinstance(key, PublicKey):
        raise TypeError("not a public key")
    return key


def _rsa_weakness(key: RSAPublicKey) -> str | None:
    numbers = key.public_numbers()
    if key.key_size < 2048:
        return f"has {key.key_size} bits, not the 2048 or more that RSA signatures need"
    if not 2**16 < numbers.e < 2**256:
        return "has an exponent outside of 2^16 to 2^256 (FIPS 186-5 section 5.4)"
    if all(numbers.n % prime in residues for prime, residues in _ROCA.items()):
        return "was made by a broken generator (ROCA, CVE-2017-15361)"
    return None
