"""Refusals of our account by fal, known by their body (fal docs, errors; public logs). Pure."""

from __future__ import annotations

from enum import StrEnum

import orjson


class AccountRefusal(StrEnum):
    """Reason of a refusal, and its reach: the first two concern the whole key, the last one endpoint."""

    LOCKED = "locked"
    BAD_KEY = "bad-key"
    ENDPOINT = "endpoint"


# Beginnings of fal's `detail`, or of the whole body, in lower case.
_KEY_REFUSALS = (
    ("user is locked", AccountRefusal.LOCKED),
    ("no user found for key", AccountRefusal.BAD_KEY),
    ("invalid key", AccountRefusal.BAD_KEY),
)
_INFRASTRUCTURE_MEMBERS = frozenset({"detail", "error_type", "message"})
_MAX_BODY = 4096  # bytes; fal's own refusals are one sentence


def account_refusal(status: int, body: bytes) -> AccountRefusal | None:
    """Returns the refusal in an answer of fal's own infrastructure, None for any other answer.

    An infrastructure body is `{"detail": "text"}`, perhaps with `error_type`, or plain text that fal sends for a key.
    """
    if status not in (401, 403) or len(body) > _MAX_BODY:
        return None
    detail = _detail(body)
    if detail is None:
        return _key_refusal(body.decode("utf-8", "replace"))
    return _key_refusal(detail) or AccountRefusal.ENDPOINT


def key_refusal(status: int, body: bytes) -> AccountRefusal | None:
    """As `account_refusal` for answers that a model may have written: only a refusal of the key counts."""
    refusal = account_refusal(status, body)
    return None if refusal is AccountRefusal.ENDPOINT else refusal


def _detail(body: bytes) -> str | None:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(parsed, dict) or not parsed.keys() <= _INFRASTRUCTURE_MEMBERS:
        return None
    detail = parsed.get("detail")
    return detail if isinstance(detail, str) else None


def _key_refusal(text: str) -> AccountRefusal | None:
    text = text.lstrip('" \t\r\n').lower()
    return next((refusal for beginning, refusal in _KEY_REFUSALS if text.startswith(beginning)), None)
