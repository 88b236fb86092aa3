"""Encrypted context of a job in the URL that fal calls at its end. Every replica can decrypt it.

The URL is all that a replica has of the job at that time. The caller's name must not be in fal's logs in plain text.
A made-up URL must not decrypt, even where fal signs a request to it.
"""

from __future__ import annotations

import hmac
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from proxy.auth.base64url import decode_base64url
from proxy.auth.caller import caller_key
from proxy.fal_api.endpoint_ids import app_id

_DOMAIN = b"fal-auth-proxy callback 1"
_SALT = 16  # bytes; each text has a key of its own, so its one nonce is never used twice
_NONCE = bytes(12)
_SEALED = re.compile(rb"[A-Za-z0-9_-]{43,4000}")


@dataclass(frozen=True, slots=True)
class CallbackContext:
    """One submit: its caller, endpoint, reservation in the ledger, time (*issued*, unix seconds), fal key.

    *secret_index* is the place of the secret that it was encrypted with, and so of the one that signed the handle.
    """

    issuer: str
    subject: str
    endpoint: str
    reservation_id: str
    issued: int
    key_alias: str = ""
    secret_index: int = 0

    @property
    def owner(self) -> str:
        return caller_key(self.issuer, self.subject)

    @property
    def app(self) -> str:
        return app_id(self.endpoint)


class CallbackCipher:
    """Cipher of contexts. The first of *secrets* encrypts, all decrypt."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def encrypt(self, context: CallbackContext) -> str:
        """Returns the context as one path segment of a URL."""
        salt = os.urandom(_SALT)
        parts = [context.issuer, context.subject, context.endpoint, context.reservation_id, context.issued]
        plain = orjson.dumps([*parts, context.key_alias] if context.key_alias else parts)
        sealed = _cipher(self._secrets[0], salt).encrypt(_NONCE, plain, None)
        return urlsafe_b64encode(salt + sealed).rstrip(b"=").decode("ascii")

    def decrypt(self, text: bytes) -> CallbackContext:
        """Returns the context. Raises ValueError for a text that `encrypt` did not make."""
        if _SEALED.fullmatch(text) is None:
            raise ValueError("malformed")
        raw = decode_base64url(text)
        for index, secret in enumerate(self._secrets):
            plain = _decrypted(_cipher(secret, raw[:_SALT]), raw[_SALT:])
            if plain is not None:
                return replace(CallbackContext(*orjson.loads(plain)), secret_index=index)
        raise ValueError("no secret decrypts it")


def _cipher(secret: bytes, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hmac.digest(secret, _DOMAIN + salt, "sha256"))


def _decrypted(cipher: ChaCha20Poly1305, sealed: bytes) -> bytes | None:
    try:
        return cipher.decrypt(_NONCE, sealed, None)
    except InvalidTag:
        return None
