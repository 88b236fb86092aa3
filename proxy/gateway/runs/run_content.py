"""Content of a run that streams: the model's own bytes, with heartbeats between the lines of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from proxy.errors import UpstreamFailed
from proxy.fal_api.headers import from_fal
from proxy.gateway.streams.stream_slots import EndReason, StreamSlot
from proxy.gateway.streams.streaming_response import StreamingResponse
from proxy.http.fields import Fields, by_name
from proxy.http.sse import HEARTBEAT, last_words
from proxy.upstream.body import UpstreamBody
from proxy.upstream.classifier import EVENT_STREAM_TYPE
from proxy.upstream.secret_filter import SecretFilter

_COMPLETE = frozenset({EndReason.FAL_ENDED})
# A reader of events is sent these in a comment; what fal broke off must look broken off.
_IN_A_COMMENT = frozenset({EndReason.EXPIRED, EndReason.TOO_OLD, EndReason.DRAINING})


def run_stream_response(
    source: UpstreamBody,
    slot: StreamSlot,
    exit_stack: AsyncExitStack,
    secret_filter: SecretFilter,
    *,
    headers: Fields,
) -> StreamingResponse:
    """Returns the response that passes *source* on, and closes *exit_stack* at its end."""
    fields_by_name = by_name(source.headers)
    content_type = fields_by_name.get(b"content-type", b"")
    events = EVENT_STREAM_TYPE.fullmatch(content_type) is not None
    fields = ((b"content-type", content_type), *from_fal(fields_by_name), *headers)
    content = _content(slot, source, secret_filter, events=events)
    complete = _COMPLETE | _IN_A_COMMENT if events else _COMPLETE
    return StreamingResponse(source.status, fields, content, slot, exit_stack, complete)


async def _content(
    slot: StreamSlot, source: UpstreamBody, secret_filter: SecretFilter, *, events: bool
) -> AsyncGenerator[bytes, None]:
    between_lines = True
    try:
        while (chunk := await slot.read(source)) is not None:
            if content := secret_filter.feed(chunk):
                yield content
                between_lines = content.endswith(b"\n")
            elif not chunk and events and between_lines:
                yield HEARTBEAT
            elif not chunk:
                slot.reset_heartbeat()
    except UpstreamFailed as error:
        slot.end(EndReason.UNFIT, error.reason)
    if slot.ended is EndReason.FAL_ENDED and (rest := secret_filter.flush()):
        yield rest
    elif events and between_lines and slot.ended in _IN_A_COMMENT:
        yield last_words(str(slot.ended))
