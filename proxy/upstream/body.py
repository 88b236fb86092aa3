"""Body of an upstream response that is read chunk by chunk."""

from __future__ import annotations

from typing import Protocol, Self

from proxy.http.fields import Fields


class UpstreamBody(Protocol):
    """Answer of fal's under way. `anext` returns content that is never empty; cancelling it loses nothing."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Fields: ...

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> bytes: ...
