"""Signature of webhooks to the app: Standard Webhooks, which stock libraries verify."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"


class AppSignature:
    """Signer with *secrets*: `whsec_` and the base64 of 24 to 64 bytes, as in the scheme. Each one signs.

    To rotate: add the new one here, then give it to the app, then drop the old one here. Raises ValueError, without
    quoting a secret.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ValueError("a secret is needed to sign with")
        self._keys = tuple(map(_key, secrets))

    def headers(self, message_id: str, body: bytes, *, now: float) -> list[tuple[bytes, bytes]]:
        """Returns the fields, with one signature of `id.timestamp.body` for each secret."""
        timestamp = str(int(now)).encode("ascii")
        encoded_id = message_id.encode("ascii")
        signed = b".".join((encoded_id, timestamp, body))
        signatures = [b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256")) for key in self._keys]
        return [
            (b"webhook-id", encoded_id),
            (b"webhook-timestamp", timestamp),
            (b"webhook-signature", b" ".join(signatures)),
        ]


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(
            "each secret is whsec_ and the base64 of 24 to 64 bytes: echo whsec_$(openssl rand -base64 32)"
        )
    if len(set(key)) < 8:
        raise ValueError("a secret repeats itself; make one with: echo whsec_$(openssl rand -base64 32)")
    return key
