"""Shared secrets that verify HS256 tokens, and the checks a secret must pass at start."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable

from jwt import InvalidKeyError

from proxy.auth.keys.algorithms import ALGORITHMS, HMAC
from proxy.auth.keys.verification_key import VerificationKey

MIN_SECRET_BYTES = 32  # bytes; RFC 7518 section 3.2: not less than the hash's output
_MIN_DISTINCT = 8  # distinct bytes; 32 random hexadecimal digits have fewer once in 27 million

_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PADDING = re.compile(rb"\A(.)\1{7,}|(.)\2{7,}\Z", re.DOTALL)
_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]+\.")
# PKCS #1, PKCS #8 and SEC 1 start with an INTEGER; PyJWT recognises the other DER forms.
_DER_KEY = re.compile(rb"\x30(?:[\x2a-\x7f]|\x81.|\x82..)\x02[\x01\x81\x82]", re.DOTALL)

# A base64 text of 48 random octets contains one of these once in several million.
_PLACEHOLDER = re.compile(
    rb"secret|passw|change.?me|replace.?(?:me|it|this)|example|placeholder|qwerty|abcdefgh|12345678", re.IGNORECASE
)

# Long and varied, but printed in standards and tutorials.
_PUBLISHED = frozenset(
    {
        b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",  # RFC 7515 A.1
        b"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",  # RFC 7520 section 3.5
        b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # FastAPI's tutorial
        b"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",  # Flask's
        b"404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",  # Spring Boot tutorials
        b"5367566B59703373367639792F423F4528482B4D6251655468576D5A71347437",
        b"ByYM000OLlMQG6VVVp1OH7Xzyr7gHuw1qvUC5dcGt3SNM",  # ASP.NET Core's
    }
)


def hmac_key(secret: bytes, kid: str | None = None, *, forbidden: Iterable[bytes] = ()) -> VerificationKey:
    """Returns the HS256 key of *secret*.

    *forbidden*: other secrets of this service, such as FAL_KEY, with which *secret* must not overlap. Raises ValueError
    with the fault of *secret*, without quoting it.
    """
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"the secret has {len(secret)} bytes, not the {MIN_SECRET_BYTES} or more that HS256 needs")
    if any(secret in other or (len(other) >= MIN_SECRET_BYTES and other in secret) for other in forbidden):
        raise ValueError("the secret is also used for something else; give sessions a secret of their own")
    if _resembles_a_key(secret):
        raise ValueError("the secret looks like a key file, a JWK or a token; give the key to public_key_file")
    if fault := _weakness(secret):
        raise ValueError(f"the secret {fault}; make one with: openssl rand -base64 48")
    return VerificationKey(HMAC, kid, secret)


def _weakness(secret: bytes) -> str | None:
    if len(set(secret)) < _MIN_DISTINCT or any(secret[n:] == secret[:-n] for n in range(1, len(secret) // 2 + 1)):
        return "repeats itself"
    if len(_PADDING.sub(b"", secret)) < MIN_SECRET_BYTES:
        return "is a short one with padding"
    if _UUID.fullmatch(secret.strip()):
        return "is a UUID, which is an identifier"
    if secret.strip() in _PUBLISHED:
        return "is published in a standard or a tutorial"
    if _PLACEHOLDER.search(secret):
        return "reads like a placeholder"
    return None


def _resembles_a_key(secret: bytes) -> bool:
    """Returns True for a key file in any wrapping.

    Algorithm confusion starts with a public key as the secret (RFC 8725 section 2.1).
    """
    try:
        bare = urlsafe_b64decode(secret + b"==")
    except ValueError:
        bare = b""
    return any(_TOKEN.match(form) or _DER_KEY.match(form) or _is_key_file(form) for form in (secret, bare))


def _is_key_file(form: bytes) -> bool:
    try:
        ALGORITHMS[HMAC].prepare_key(form)
    except InvalidKeyError:  # PEM, SSH, DER or JWK; PyJWT refuses an empty one too, which is no key here
        return bool(form)
    return False
