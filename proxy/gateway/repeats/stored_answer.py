"""Answers as they are stored for repeats. Pure."""

from __future__ import annotations

import orjson

from proxy.http.response import Response

# Fields about the moment of the first answer.
_MOMENTARY = frozenset({b"ratelimit", b"ratelimit-policy"})
REPLAYED = (b"idempotent-replayed", b"true")


def dump_answer(answer: Response) -> bytes:
    """Returns *answer* as bytes for the ledger."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return orjson.dumps([answer.status, headers, answer.body.decode("utf-8")])


def load_answer(stored: bytes) -> Response:
    """Returns the answer that `dump_answer` made bytes of, marked as replayed."""
    status, headers, body = orjson.loads(stored)
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    lasting = [field for field in fields if field[0] not in _MOMENTARY]
    return Response(status, body.encode("utf-8"), (*lasting, REPLAYED))
