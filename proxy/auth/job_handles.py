"""Job handles: the job ids of callers, `<upstream id>[~alias].<mac>`, bound to one caller and one app.

The MAC alone proves ownership, so any replica can verify a handle, before and after a restart, without a store.
The upstream id inside is no secret: a raw id of fal opens nothing through the gateway. The alias names the fal key of
the job, and is left out for the key without one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from proxy.auth.base64url import encode_base64url
from proxy.errors import JobNotFound

MIN_SECRET_BYTES = 32  # bytes; RFC 2104 section 3: not less than the hash's output
_MAC_SIZE = (
    18  # 144 bits, over the 128 asked of an unguessable id, and base64 without spare bits: one spelling a handle
)
CACHE_SIZE = 2_048  # verified handles, some 400 bytes each: of the jobs that are polled at a time
_DOMAIN = b"fal-auth-proxy job handle 1"
_UPSTREAM_ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
ALIAS = r"[a-z0-9][a-z0-9-]{0,30}"  # of a fal key
_HANDLE = re.compile(rf"({_UPSTREAM_ID})(?:~({ALIAS}))?\.([A-Za-z0-9_-]{{{_MAC_SIZE * 4 // 3}}})", re.ASCII)
_ID = re.compile(_UPSTREAM_ID, re.ASCII)


@dataclass(slots=True)
class JobName:
    """Name of a job at fal: its id there, and the alias of the key that it was submitted with."""

    upstream_id: Final[str]
    key_alias: Final[str] = ""


class JobHandles:
    """Handles under *secrets*: the first signs, all verify.

    *aliases* are those of the fal keys at hand. A handle with another one is as unknown as a forged one.
    """

    def __init__(self, secrets: Sequence[bytes], aliases: Collection[str] = ("",)) -> None:
        if not secrets or any(len(secret) < MIN_SECRET_BYTES for secret in secrets):
            raise ValueError(f"a handle secret needs at least {MIN_SECRET_BYTES} bytes")
        # Keyed once: the pads of RFC 2104 cost as much as the message. The class in the standard library is Python.
        self._aliases = frozenset(aliases)
        self._macs = tuple(HMAC(secret, SHA256()) for secret in secrets)
        # Clients poll a job many times. Only good handles are cached: a refusal raises each time.
        self._cached = lru_cache(maxsize=CACHE_SIZE)(self._verify)

    def sign(self, upstream_id: str, *, owner: str, app: str, key_alias: str = "", secret_index: int = 0) -> str:
        """Returns the handle of fal's id *upstream_id*. Raises ValueError where that is malformed.

        *secret_index* other than 0 makes the handle that an older secret made.
        """
        if _ID.fullmatch(upstream_id) is None:
            raise ValueError("the upstream id is malformed")
        job = f"{upstream_id}~{key_alias}" if key_alias else upstream_id
        return f"{job}.{_mac(self._macs[secret_index], job, owner, app)}"

    def verify(self, handle: str, *, owner: str, app: str) -> JobName:
        """Returns the job's name. Raises JobNotFound for foreign, unknown and malformed handles alike."""
        return self._cached(handle, owner, app)

    def _verify(self, handle: str, owner: str, app: str) -> JobName:
        parts = _HANDLE.fullmatch(handle)
        upstream_id, key_alias, mac = parts.groups("") if parts else ("malformed", "", "")
        job = f"{upstream_id}~{key_alias}" if key_alias else upstream_id
        matches = [compare_digest(_mac(keyed, job, owner, app), mac) for keyed in self._macs]
        if not any(matches):
            raise JobNotFound(reason="the handle is not this caller's")
        if key_alias not in self._aliases:
            raise JobNotFound(reason="the fal key of the job was removed")
        return JobName(upstream_id, key_alias)


def parse_handle(handle: str) -> JobName:
    """Returns the job's name without verification, for operators. Raises ValueError for no handle."""
    if (parts := _HANDLE.fullmatch(handle)) is None:
        raise ValueError("not a job handle")
    return JobName(str(parts[1]), parts[2] or "")


def _mac(keyed: HMAC, job: str, owner: str, app: str) -> str:
    mac = keyed.copy()
    # No part can hold a NUL (ids and apps by grammar, owners are hex), and no id a tilde: the text has one reading.
    mac.update(b"\0".join((_DOMAIN, owner.encode(), app.encode(), job.encode())))
    return encode_base64url(mac.finalize()[:_MAC_SIZE])
