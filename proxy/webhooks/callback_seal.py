"""What a callback URL says of its job, sealed so that any replica can open it and nobody else can make or read one.

A URL that fal calls is all we have of a job when its end is told. Whose it was must not be in fal's logs in plain, and
a URL that somebody made up must not open, whatever fal signs for them.
"""

from __future__ import annotations

import hmac
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from proxy.auth.base64url import decode_base64url
from proxy.auth.caller import caller_key
from proxy.fal_api.endpoint_ids import app_id

_DOMAIN = b"fal-auth-proxy callback 1"
_SALT = 16  # bytes; a key of its own for each seal, so its one nonce is never used twice
_NONCE = bytes(12)
_SEAL = re.compile(rb"[A-Za-z0-9_-]{43,4000}")


@dataclass(frozen=True, slots=True)
class CallbackContext:
    """One submit: whose, of which endpoint, under which *ticket* of the ledger, and when (*issued*, unix seconds)."""

    issuer: str
    subject: str
    endpoint: str
    ticket: str
    issued: int

    @property
    def owner(self) -> str:
        return caller_key(self.issuer, self.subject)

    @property
    def app(self) -> str:
        return app_id(self.endpoint)


class CallbackCipher:
    """*secrets*: the first seals, all open, so a secret rotates by being put in front of the old one."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def encrypt(self, context: CallbackContext) -> str:
        """For one path segment of a URL."""
        salt = os.urandom(_SALT)
        plain = orjson.dumps([context.issuer, context.subject, context.endpoint, context.ticket, context.issued])
        sealed = _cipher(self._secrets[0], salt).encrypt(_NONCE, plain, None)
        return urlsafe_b64encode(salt + sealed).rstrip(b"=").decode("ascii")

    def decrypt(self, text: bytes) -> CallbackContext:
        """Raises ValueError for whatever `seal` did not make."""
        if _SEAL.fullmatch(text) is None:
            raise ValueError("not the form of a seal")
        raw = decode_base64url(text)
        for secret in self._secrets:
            plain = _decrypted(_cipher(secret, raw[:_SALT]), raw[_SALT:])
            if plain is not None:
                return CallbackContext(*orjson.loads(plain))
        raise ValueError("no secret of ours opens it")


def _cipher(secret: bytes, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hmac.digest(secret, _DOMAIN + salt, "sha256"))


def _decrypted(cipher: ChaCha20Poly1305, sealed: bytes) -> bytes | None:
    try:
        return cipher.decrypt(_NONCE, sealed, None)
    except InvalidTag:
        return None
