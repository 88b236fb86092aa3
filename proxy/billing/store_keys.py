"""Keys of callers in stores: digests, or HMACs of them where the operator has a privacy secret."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from functools import lru_cache

from proxy.auth.authorization import Grant
from proxy.auth.sessions.claims import claim_text
from proxy.ratelimit.rate_limiter import LimitedRequest

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """Makes store keys from digests. With *secret*, only its owner can tell which user a key belongs to."""

    secret: bytes | None = None

    def key(self, digest: str) -> str:
        """Returns the key in stores for *digest*, 64 hexadecimal digits."""
        return digest if self.secret is None else _hmac(self.secret, digest)

    def rename(self, text: str) -> str:
        """Returns *text*, an account or a caller of an older ledger, with its digest replaced by the key."""
        return _DIGEST.sub(lambda match: self.key(match.group()), text)


def limited_request(keys: StoreKeys, grant: Grant, address: str) -> LimitedRequest:
    """Returns what the short windows count a request by."""
    caller = grant.caller
    return LimitedRequest(
        keys.key(caller.key),
        address,
        grant.target.endpoint,
        caller.issuer,
        lambda path: claim_text(caller.claims.get(path)) or "",
    )


@lru_cache(maxsize=65_536)
def _hmac(secret: bytes, digest: str) -> str:
    return hmac.digest(secret, digest.encode(), "sha256").hex()
