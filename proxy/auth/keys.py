"""Keys that verify session tokens: each bound to one algorithm, each refused at start if it could betray us."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidKeyError, get_algorithm_by_name
from jwt.algorithms import Algorithm

from proxy import strict_json
from proxy.auth.jws import MAX_TEXT, decode_base64url
from proxy.errors import MalformedJson
from proxy.strict_json import Json

HMAC = "HS256"
ALGORITHMS: Mapping[str, Algorithm] = {name: get_algorithm_by_name(name) for name in (HMAC, "RS256", "ES256", "EdDSA")}

MIN_SECRET = 32  # bytes; RFC 7518 section 3.2: not less than the hash's output

_PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

# What a JWK must be for each algorithm: its kty, and the members that are octets (RFC 7518 section 6, RFC 8037).
_KEY_TYPES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "RS256": ("RSA", ("n", "e")),
    "ES256": ("EC", ("x", "y")),
    "EdDSA": ("OKP", ("x",)),
}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

# A modulus that is a power of 65537 modulo each of these came from the generator of CVE-2017-15361.
_ROCA = {
    prime: frozenset(pow(65537, power, prime) for power in range(prime))
    for prime in (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
}


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """Made by `hmac_key` and `public_key`, which vouch for *material*. *kid* is only ever compared for equality."""

    algorithm: str
    kid: str | None
    material: bytes | _PublicKey = field(repr=False)
    _keyed: hmac.HMAC | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # RFC 2104 keyed once: both pads cost more than a token does.
        keyed = hmac.new(self.material, digestmod="sha256") if isinstance(self.material, bytes) else None
        object.__setattr__(self, "_keyed", keyed)
        if self.kid is not None and not 0 < len(self.kid) <= MAX_TEXT:
            raise ValueError(f"a key's kid must have 1 to {MAX_TEXT} characters")

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        """HMACs are compared in constant time; an ES256 signature is the raw 64 octets of RFC 7518 section 3.4."""
        if self._keyed is None:
            return ALGORITHMS[self.algorithm].verify(signing_input, self.material, signature)
        mac = self._keyed.copy()
        mac.update(signing_input)
        return hmac.compare_digest(mac.digest(), signature)


_MIN_VARIETY = 8  # distinct bytes; 32 random hexadecimal digits have fewer once in 27 million
_MIN_REMAINDER = 16  # bytes that must be left of a secret once the words and marks of placeholders are taken out

_PADDING = re.compile(rb"\A(.)\1{7,}|(.)\2{7,}\Z", re.DOTALL)
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]+\.")
# PKCS #1, PKCS #8 and SEC 1 start with an INTEGER; PyJWT knows the other DER forms.
_DER_KEY = re.compile(rb"\x30(?:[\x2a-\x7f]|\x81.|\x82..)\x02[\x01\x81\x82]", re.DOTALL)
_MARKS = re.compile(rb"[\s!-/:-@\[-`{-~]+")

_WORDS = (
    b"access admin api app auth backend bearer bit bits change changed characters code config default demo dev develop "
    b"development do env environment example fal for from generate here hmac hs256 in insecure is it json jwt keep key "
    b"least local long make me minimum must my need never not of only or our own password phrase please private prod "
    b"production proxy random refresh replace safe sample secret secure server session set should sign signing some "
    b"string strong super test that the this to token ultra unsafe use used user value variable very with you your "
    b"a an and any as at be by abcdefghijklmnopqrstuvwxyz abc qwerty qwertyuiop asdfghjkl zxcvbnm 0123456789 "
    b"1234567890 123456789 12345678 123456 12345 1234 123 256 384 512 32 64"
)
# In reverse order a word comes before its own beginnings, so the longest one matches.
_WORD = re.compile(b"|".join(sorted(_WORDS.split(), reverse=True)))

# Long and varied, but printed in standards and tutorials for everybody to read.
_PUBLISHED = frozenset(
    {
        b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",  # RFC 7515 A.1
        b"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",  # RFC 7520 section 3.5
        b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # FastAPI's tutorial
        b"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",  # Flask's
        b"404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",  # Spring Boot's, many of them
        b"5367566B59703373367639792F423F4528482B4D6251655468576D5A71347437",
        b"ByYM000OLlMQG6VVVp1OH7Xzyr7gHuw1qvUC5dcGt3SNM",  # ASP.NET Core's
    }
)


def hmac_key(secret: bytes, kid: str | None = None, *, forbidden: Iterable[bytes] = ()) -> VerificationKey:
    """An HS256 key. *forbidden*: other secrets of this service, such as FAL_KEY, that *secret* must share nothing with.

    Raises ValueError saying what is wrong with *secret*, without quoting it.
    """
    if len(secret) < MIN_SECRET:
        raise ValueError(f"the secret has {len(secret)} bytes, not the {MIN_SECRET} or more that HS256 needs")
    if any(secret in other or (len(other) >= MIN_SECRET and other in secret) for other in forbidden):
        raise ValueError("the secret is also used for something else; give sessions a secret of their own")
    if _resembles_a_key(secret):
        raise ValueError("the secret looks like a key file, a JWK or a token; give the key to RS256, ES256 or EdDSA")
    if fault := _weakness(secret):
        raise ValueError(f"the secret {fault}; make one with: openssl rand -base64 48")
    return VerificationKey(HMAC, kid, secret)


def public_key(algorithm: str, material: bytes, kid: str | None = None) -> VerificationKey:
    """A key for RS256, ES256 or EdDSA (Ed25519) from *material*: one PEM `PUBLIC KEY` block or one JWK (RFC 7517).

    A JWK's own `kid` holds where *kid* is None. Raises ValueError saying what is wrong, without quoting the key.
    """
    if algorithm == HMAC or algorithm not in ALGORITHMS:
        raise ValueError("the algorithm of a public key must be RS256, ES256 or EdDSA")
    if not material.lstrip().startswith(b"{"):
        return VerificationKey(algorithm, kid, _fitting(algorithm, _from_pem(material)))
    jwk = _jwk(algorithm, material)
    own = jwk.get("kid", kid)
    if not (own is None or isinstance(own, str)) or kid not in (None, own):
        raise ValueError("the JWK's kid is not a string, or not the one configured")
    return VerificationKey(algorithm, own, _fitting(algorithm, _from_jwk(algorithm, jwk)))


def _weakness(secret: bytes) -> str | None:
    if len(set(secret)) < _MIN_VARIETY or any(secret[n:] == secret[:-n] for n in range(1, len(secret) // 2 + 1)):
        return "repeats itself"
    if len(_PADDING.sub(b"", secret)) < MIN_SECRET:
        return "is a short one with padding"
    if _UUID.fullmatch(secret.strip()):
        return "is a UUID, which is an identifier"
    if secret.strip() in _PUBLISHED:
        return "is published in a standard or a tutorial"
    if len(_MARKS.sub(b"", _WORD.sub(b"", secret.lower()))) < _MIN_REMAINDER:
        return "reads like a placeholder"
    return None


def _resembles_a_key(secret: bytes) -> bool:
    """Algorithm confusion begins with a public key as the secret (RFC 8725 section 2.1), so no wrapping passes."""
    try:
        bare = urlsafe_b64decode(secret + b"==")
    except ValueError:
        bare = b""
    return any(_TOKEN.match(form) or _DER_KEY.match(form) or _is_key_file(form) for form in (secret, bare))


def _is_key_file(form: bytes) -> bool:
    try:
        ALGORITHMS[HMAC].prepare_key(form)
    except InvalidKeyError:  # PEM, SSH, DER or JWK; it also minds an empty one, which decodes to nothing here
        return bool(form)
    return False


def _from_pem(material: bytes) -> object:
    if b"PRIVATE KEY" in material:
        raise ValueError("this is a private key; the gateway needs only the public one: openssl pkey -pubout")
    if material.count(b"-----BEGIN") != 1:
        raise ValueError("the key must be one PEM block or one JWK")
    try:
        return load_pem_public_key(material)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the PEM block is not a usable public key") from None


def _jwk(algorithm: str, material: bytes) -> dict[str, Json]:
    try:
        jwk = strict_json.parse(material, max_depth=8)
    except MalformedJson as exc:
        raise ValueError(f"the JWK is not strict JSON: {exc}") from None
    kty, octets = _KEY_TYPES[algorithm]
    if not isinstance(jwk, dict) or jwk.get("kty") != kty:
        raise ValueError(f"the JWK's kty is not {kty}, which {algorithm} needs")
    if _PRIVATE & jwk.keys():
        raise ValueError("the JWK holds a private key; the gateway needs only the public one")
    if not all(isinstance(jwk.get(name), str) for name in octets):
        raise ValueError(f"the JWK lacks {' or '.join(octets)}, or one is not a string")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
        raise ValueError(f"the JWK's alg or use is not for {algorithm} signatures")
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("the JWK's key_ops do not include verify")
    return jwk


def _from_jwk(algorithm: str, jwk: dict[str, Json]) -> object:
    try:
        for name in _KEY_TYPES[algorithm][1]:
            decode_base64url(str(jwk[name]).encode("ascii"))
        return ALGORITHMS[algorithm].from_jwk(jwk)
    except (ValueError, InvalidKeyError):
        raise ValueError("the JWK is not a usable public key") from None


def _fitting(algorithm: str, key: object) -> _PublicKey:
    match algorithm, key:
        case "RS256", RSAPublicKey():
            if (fault := _rsa_weakness(key)) is not None:
                raise ValueError(f"the RSA key {fault}")
            return key
        case "ES256", EllipticCurvePublicKey(curve=SECP256R1()):
            return key
        case "EdDSA", Ed25519PublicKey():
            return key
    raise ValueError(f"the key's type or curve is not the one of {algorithm}")


def _rsa_weakness(key: RSAPublicKey) -> str | None:
    numbers = key.public_numbers()
    if key.key_size < 2048:
        return f"has {key.key_size} bits, not the 2048 or more that RS256 needs"
    if not 2**16 < numbers.e < 2**256:
        return "has an exponent outside of 2^16 to 2^256 (FIPS 186-5 section 5.4)"
    if all(numbers.n % prime in residues for prime, residues in _ROCA.items()):
        return "was made by a broken generator (ROCA, CVE-2017-15361)"
    return None
