"""Body of an upstream response that is read chunk by chunk."""

from __future__ import annotations

from typing import Protocol, Self


class Source(Protocol):
    """An answer of fal's under way. `anext` gives content that is never empty, and may be cancelled without loss."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]: ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> bytes: ...
