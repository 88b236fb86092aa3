"""Job handles: the ids callers hold, `<upstream id>.<mac>`, bound to one caller and one app.

The MAC alone proves ownership, so any replica can check a handle, before and after a restart, without a store.
The upstream id inside is no secret (fal's ids are not capabilities here: a raw id opens nothing through us).
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache

from proxy.errors import JobNotFound

MIN_SECRET = 32  # bytes; RFC 2104 section 3: not less than the hash's output
_MAC_SIZE = (
    18  # 144 bits, over the 128 asked of an unguessable id, and base64 without spare bits: one spelling a handle
)
REMEMBERED = 16_384  # proved handles, some 500 bytes each
_DOMAIN = b"fal-auth-proxy job handle 1"
_UPSTREAM_ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
_HANDLE = re.compile(rf"({_UPSTREAM_ID})\.([A-Za-z0-9_-]{{{_MAC_SIZE * 4 // 3}}})", re.ASCII)
_ID = re.compile(_UPSTREAM_ID, re.ASCII)


class Handles:
    """*secrets*: the first seals, all open, so a secret rotates by being put in front of the old one."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets or any(len(secret) < MIN_SECRET for secret in secrets):
            raise ValueError(f"a handle secret needs at least {MIN_SECRET} bytes")
        # Keyed once: the pads of RFC 2104 cost as much as the message.
        self._macs = tuple(hmac.new(secret, digestmod="sha256") for secret in secrets)
        # A job is asked for many times. Only what was proved is remembered: a refusal raises each time.
        self._proved = lru_cache(maxsize=REMEMBERED)(self._prove)

    def seal(self, upstream_id: str, *, owner: str, app: str) -> str:
        """Raises ValueError where fal's id is not of the form ids have: such an id could not be addressed again."""
        if _ID.fullmatch(upstream_id) is None:
            raise ValueError("the upstream id is malformed")
        return f"{upstream_id}.{_mac(self._macs[0], upstream_id, owner, app)}"

    def open(self, handle: str, *, owner: str, app: str) -> str:
        """The upstream id. Raises JobNotFound for foreign, unknown and malformed handles, after the same work."""
        return self._proved(handle, owner, app)

    def _prove(self, handle: str, owner: str, app: str) -> str:
        parts = _HANDLE.fullmatch(handle)
        upstream_id, given = parts.groups() if parts else ("malformed", "")
        matches = [hmac.compare_digest(_mac(keyed, upstream_id, owner, app), given) for keyed in self._macs]
        if not any(matches):
            raise JobNotFound(reason="the handle is not this caller's")
        return upstream_id


def upstream_id_of(handle: str) -> str:
    """What is written inside, unproved: for the operator's eyes. Raises ValueError where it is no handle."""
    if (parts := _HANDLE.fullmatch(handle)) is None:
        raise ValueError("not a job handle")
    return str(parts[1])


def _mac(keyed: hmac.HMAC, upstream_id: str, owner: str, app: str) -> str:
    mac = keyed.copy()
    # No part can hold a NUL (ids and apps by grammar, owners are hex), so the joint has one reading.
    mac.update(b"\0".join((_DOMAIN, owner.encode(), app.encode(), upstream_id.encode())))
    return urlsafe_b64encode(mac.digest()[:_MAC_SIZE]).decode("ascii")
