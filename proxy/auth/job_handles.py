"""Job handles: the job ids of callers, `<upstream id>.<mac>`, bound to one caller and one app.

The MAC alone proves ownership, so any replica can verify a handle, before and after a restart, without a store.
The upstream id inside is no secret: a raw id of fal opens nothing through the gateway.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache

from proxy.errors import JobNotFound

MIN_SECRET_BYTES = 32  # bytes; RFC 2104 section 3: not less than the hash's output
_MAC_SIZE = (
    18  # 144 bits, over the 128 asked of an unguessable id, and base64 without spare bits: one spelling a handle
)
CACHE_SIZE = 16_384  # verified handles, some 500 bytes each
_DOMAIN = b"fal-auth-proxy job handle 1"
_UPSTREAM_ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
_HANDLE = re.compile(rf"({_UPSTREAM_ID})\.([A-Za-z0-9_-]{{{_MAC_SIZE * 4 // 3}}})", re.ASCII)
_ID = re.compile(_UPSTREAM_ID, re.ASCII)


class JobHandles:
    """Handles under *secrets*: the first signs, all verify, so that a new secret is put in front."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets or any(len(secret) < MIN_SECRET_BYTES for secret in secrets):
            raise ValueError(f"a handle secret needs at least {MIN_SECRET_BYTES} bytes")
        # Keyed once: the pads of RFC 2104 cost as much as the message.
        self._macs = tuple(hmac.new(secret, digestmod="sha256") for secret in secrets)
        # Clients poll a job many times. Only good handles are cached: a refusal raises each time.
        self._cached = lru_cache(maxsize=CACHE_SIZE)(self._verify)

    def sign(self, upstream_id: str, *, owner: str, app: str) -> str:
        """Returns the handle of fal's id *upstream_id*. Raises ValueError where that is malformed."""
        if _ID.fullmatch(upstream_id) is None:
            raise ValueError("the upstream id is malformed")
        return f"{upstream_id}.{_mac(self._macs[0], upstream_id, owner, app)}"

    def verify(self, handle: str, *, owner: str, app: str) -> str:
        """Returns the upstream id. Raises JobNotFound for foreign, unknown and malformed handles alike."""
        return self._cached(handle, owner, app)

    def _verify(self, handle: str, owner: str, app: str) -> str:
        parts = _HANDLE.fullmatch(handle)
        upstream_id, mac = parts.groups() if parts else ("malformed", "")
        matches = [hmac.compare_digest(_mac(keyed, upstream_id, owner, app), mac) for keyed in self._macs]
        if not any(matches):
            raise JobNotFound(reason="the handle is not this caller's")
        return upstream_id


def parse_upstream_id(handle: str) -> str:
    """Returns the upstream id without verification, for operators. Raises ValueError for no handle."""
    if (parts := _HANDLE.fullmatch(handle)) is None:
        raise ValueError("not a job handle")
    return str(parts[1])


def _mac(keyed: hmac.HMAC, upstream_id: str, owner: str, app: str) -> str:
    mac = keyed.copy()
    # No part can hold a NUL (ids and apps by grammar, owners are hex), so the joined text has one reading.
    mac.update(b"\0".join((_DOMAIN, owner.encode(), app.encode(), upstream_id.encode())))
    return urlsafe_b64encode(mac.digest()[:_MAC_SIZE]).decode("ascii")
