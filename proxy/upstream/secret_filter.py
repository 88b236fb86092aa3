"""Bytes passed on as they come, unless they hold what must not go out. Pure."""

from __future__ import annotations

from collections.abc import Collection

from proxy.errors import UpstreamFailed


class Sieve:
    """*canaries* are found wherever chunks end: what may be the beginning of one waits for the next chunk."""

    def __init__(self, canaries: Collection[bytes]) -> None:
        self._canaries = canaries
        self._kept = b""

    def sift(self, chunk: bytes) -> bytes:
        """What may go on now. Raises UpstreamFailed."""
        seen = self._kept + chunk
        if any(canary in seen for canary in self._canaries):
            raise UpstreamFailed(reason="fal's answer holds our key")
        end = len(seen) - max((_overlap(seen, canary) for canary in self._canaries), default=0)
        self._kept = seen[end:]
        return seen[:end]

    def rest(self) -> bytes:
        """What was kept back, at the end."""
        kept, self._kept = self._kept, b""
        return kept


def _overlap(seen: bytes, canary: bytes) -> int:
    """The longest beginning of *canary* that *seen* ends with."""
    longest = min(len(canary) - 1, len(seen))
    return next((size for size in range(longest, 0, -1) if seen.endswith(canary[:size])), 0)
