"""Webhooks of the gateway, signed by the Standard Webhooks scheme."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Mapping

from fastapi import HTTPException, Request
from pydantic import BaseModel

TOLERANCE = 300  # seconds between the signature and its arrival


class Event(BaseModel):
    """The end of a job. *payload* is fal's result, null for a job that failed without one."""

    request_id: str
    subject: str
    status: str
    payload: dict[str, object] | None = None


async def verified_event(request: Request) -> Event:
    """Returns the event of a request. Raises a 401 unless the gateway signed these bytes a moment ago."""
    body = await request.body()  # the raw bytes: parsed and written again they would have another signature
    if not is_signed(request.headers, body, os.environ["FAL_PROXY_WEBHOOK_SECRETS"]):
        raise HTTPException(401, "bad signature")
    return Event.model_validate_json(body)


def is_signed(headers: Mapping[str, str], body: bytes, secrets: str) -> bool:
    """Returns True where a signature is of one of *secrets*, separated by commas, and not old."""
    sent = headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > TOLERANCE:
        return False
    signed = f"{headers.get('webhook-id', '')}.{sent}.".encode() + body
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(signature(secret, signed), each) for secret in secrets.split(",") for each in given)


def signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.strip().removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
