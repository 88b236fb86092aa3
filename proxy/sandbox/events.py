from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from proxy.sandbox.replies import dump

PING = b": ping\n\n"


class EventStream(StreamingResponse):
    """Server-sent events, as fal writes them: one `data:` line each, no names, no ids."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], *, request_id: str) -> None:
        super().__init__(events, headers={"x-fal-request-id": request_id, "cache-control": "no-cache"})


def event(body: object) -> bytes:
    return b"data: %b\n\n" % dump(body)
