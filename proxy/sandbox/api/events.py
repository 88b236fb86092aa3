"""Server-sent events in fal's form."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from proxy.sandbox.responses import dump_json

PING = b": ping\n\n"


class EventStream(StreamingResponse):
    """Stream of server-sent events: one `data:` line each, without event names and ids."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], *, request_id: str) -> None:
        super().__init__(events, headers={"x-fal-request-id": request_id, "cache-control": "no-cache"})


def format_event(body: object) -> bytes:
    """Returns the bytes of one event with *body* as JSON."""
    return b"data: %b\n\n" % dump_json(body)
