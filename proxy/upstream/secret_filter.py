"""Filter for bytes that are passed on as they come, unless they hold a secret. Pure."""

from __future__ import annotations

from collections.abc import Collection

from proxy.errors import UpstreamFailed


class SecretFilter:
    """Finds *secrets* wherever chunks end: the possible beginning of one is held back for the next chunk."""

    def __init__(self, secrets: Collection[bytes]) -> None:
        self._secrets = secrets
        self._held_back = b""

    def feed(self, chunk: bytes) -> bytes:
        """Returns the bytes that may be sent now. Raises UpstreamFailed at a secret."""
        content = self._held_back + chunk
        if any(secret in content for secret in self._secrets):
            raise UpstreamFailed(reason="fal's answer holds our key")
        end = len(content) - max((_overlap(content, secret) for secret in self._secrets), default=0)
        self._held_back = content[end:]
        return content[:end]

    def flush(self) -> bytes:
        """Returns what was held back, at the end of the answer."""
        rest, self._held_back = self._held_back, b""
        return rest


def _overlap(content: bytes, secret: bytes) -> int:
    """Returns the length of the longest beginning of *secret* that *content* ends with."""
    longest = min(len(secret) - 1, len(content))
    return next((size for size in range(longest, 0, -1) if content.endswith(secret[:size])), 0)
