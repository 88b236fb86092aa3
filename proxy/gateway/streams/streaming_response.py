"""An answer that goes to its caller as it comes from fal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from starlette.types import Send

from proxy.errors import ClientGone
from proxy.gateway.stream_slots import EndReason, StreamSlot
from proxy.http.fields import Fields
from proxy.http.response import PROTECTIVE
from proxy.http.server.disconnect import CancelOnDisconnect
from proxy.telemetry.access_record import AccessRecord

# nginx, and whoever follows its word, would collect some of it before passing it on.
_UNBUFFERED = (b"x-accel-buffering", b"no")

COMPLETED = frozenset(EndReason) - {EndReason.LEFT, EndReason.STUCK}


@dataclass(frozen=True, slots=True)
class StreamingResponse:
    """*content* ends by itself and *place* says why; *held* is what to close then, and whatever else happens.

    Only after an end in *whole* is the answer completed; else the connection is cut, so that its reader can tell.
    """

    status: int
    headers: Fields
    content: AsyncGenerator[bytes, None]
    place: StreamSlot
    held: AsyncExitStack
    complete_reasons: Collection[EndReason] = COMPLETED

    def wire_headers(self, request_id: bytes, extra: Fields = ()) -> list[tuple[bytes, bytes]]:
        """Complete response fields. Without a length the listener sends it in chunks."""
        fields = [_UNBUFFERED, *PROTECTIVE, *self.headers, *extra]
        if not any(name == b"x-fal-request-id" for name, _ in self.headers):
            fields.append((b"x-fal-request-id", request_id))
        return fields

    async def deliver(self, disconnect: CancelOnDisconnect, send: Send, record: AccessRecord, extra: Fields) -> bool:
        """Sends all but the end, until the caller leaves; whether the answer is complete. Closes what it holds.

        Each part is awaited before the next is asked for, so a caller who reads slowly slows fal down.
        """
        try:
            async with self.held, aclosing(self.content), disconnect:
                await self._send_chunks(send, record, self.wire_headers(record.request_id.encode("ascii"), extra))
        except ClientGone:
            self.place.end(EndReason.LEFT)
        finally:
            record.ended, record.reason = self.place.ended, self.place.reason
        return self.place.ended in self.complete_reasons

    async def _send_chunks(self, send: Send, record: AccessRecord, fields: Fields) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": fields})
        async for part in self.content:
            if not await self.place.send_within(send({"type": "http.response.body", "body": part, "more_body": True})):
                return
            record.response_bytes += len(part)
            self.place.reset_heartbeat()
