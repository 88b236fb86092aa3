"""Response that is sent to its caller as it comes from fal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from starlette.types import Send

from proxy.errors import ClientGone
from proxy.gateway.streams.stream_slots import EndReason, StreamSlot
from proxy.http.fields import Fields
from proxy.http.response import PROTECTIVE
from proxy.http.server.disconnect import CancelOnDisconnect
from proxy.telemetry.access_record import AccessRecord

# nginx, and proxies that know its field, would collect some of the content before they pass it on.
_UNBUFFERED = (b"x-accel-buffering", b"no")
# Next.js, Express and CDNs compress, and so hold back, what may be transformed (RFC 9111 section 5.2.2.6).
_UNTRANSFORMED = (b"cache-control", b"no-store, no-transform")
_FIELDS = (_UNBUFFERED, _UNTRANSFORMED, *(field for field in PROTECTIVE if field[0] != b"cache-control"))

COMPLETED = frozenset(EndReason) - {EndReason.LEFT, EndReason.STUCK}


@dataclass(frozen=True, slots=True)
class StreamingResponse:
    """Response whose *content* ends by itself. *slot* has the reason, *exit_stack* is closed at the end.

    The response is complete only after an end in *complete_reasons*; else the connection is cut, so that its reader
    can tell.
    """

    status: int
    headers: Fields
    content: AsyncGenerator[bytes, None]
    slot: StreamSlot
    exit_stack: AsyncExitStack
    complete_reasons: Collection[EndReason] = COMPLETED

    def wire_headers(self, request_id: bytes, extra: Fields = ()) -> list[tuple[bytes, bytes]]:
        """Returns all header fields. Without a length the server sends the content in chunks."""
        fields = [*_FIELDS, *self.headers, *extra]
        if not any(name == b"x-fal-request-id" for name, _ in self.headers):
            fields.append((b"x-fal-request-id", request_id))
        return fields

    async def deliver(self, disconnect: CancelOnDisconnect, send: Send, record: AccessRecord, extra: Fields) -> bool:
        """Sends all but the end, until the caller disconnects; returns True where the response is complete.

        Each part is sent before the next is read, so a caller who reads slowly slows fal down.
        """
        try:
            async with self.exit_stack, aclosing(self.content), disconnect:
                await self._send_chunks(send, record, self.wire_headers(record.request_id.encode("ascii"), extra))
        except ClientGone:
            self.slot.end(EndReason.LEFT)
        finally:
            record.ended, record.reason = self.slot.ended, self.slot.reason
        return self.slot.ended in self.complete_reasons

    async def _send_chunks(self, send: Send, record: AccessRecord, fields: Fields) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": fields})
        async for part in self.content:
            if not await self.slot.send_within(send({"type": "http.response.body", "body": part, "more_body": True})):
                return
            record.response_bytes += len(part)
            self.slot.reset_heartbeat()
