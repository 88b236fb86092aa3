"""Puts the parts of webhooks in mode "ours" together. Constructs and connects; decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from proxy.app.setup.components import Parts
from proxy.auth.jwks import Jwks
from proxy.billing.ledger.interface import Ledger
from proxy.billing.reservations import Spending
from proxy.http.client.tls import tls_context
from proxy.http.request_body import BodyBudget
from proxy.ratelimit.failed_logins import FailedLogins
from proxy.telemetry.json_log import Journal
from proxy.webhooks.callback_url import CallbackUrls
from proxy.webhooks.delivery_state import CallbackClaims
from proxy.webhooks.fal_signature import keys_of
from proxy.webhooks.receiver import Callbacks, Trust
from proxy.webhooks.sender import Deliveries

FAILED = 30  # refused callbacks from one address in FAILED_WINDOW seconds; a further one is not looked at
FAILED_WINDOW = 60
_HOLD_OVER_DELIVERY = 10.0  # seconds, for the ledger's own waits


@dataclass(frozen=True, slots=True)
class WebhookLine:
    """Both ends of it: the addresses fal is given, and what answers there."""

    urls: CallbackUrls
    callbacks: Callbacks
    deliveries: Deliveries


def webhook_line(
    parts: Parts,
    *,
    ledger: Ledger,
    spending: Spending,
    body_budget: BodyBudget,
    journal: Journal,
    away: Callable[[], None],
) -> WebhookLine | None:
    """None in the other modes."""
    ours = parts.webhooks
    if ours is None:
        return None
    server, section = parts.config.server, parts.config.webhooks
    hold = ours.schedule.whole + _HOLD_OVER_DELIVERY
    claims = CallbackClaims(ledger, keep=section.keep_seconds, hold=hold, clock=time.time, away=away)
    deliveries = Deliveries(
        ours.url, ours.signature, ours.schedule, concurrency=section.concurrency, tls=ours.tls, clock=time.time
    )
    keys = Jwks(
        f"{parts.config.fal.rest_origin}/.well-known/jwks.json",
        keys_of,
        tls=parts.tls or tls_context(),
        max_age=section.jwks_max_age_seconds,
        clock=time.monotonic,
        report=lambda text: journal.write({"event": "fal_keys", "reason": text}),
    )
    canaries = frozenset(part.encode() for part in (parts.fal_key, parts.fal_key.rpartition(":")[2]))
    callbacks = Callbacks(
        seals=ours.seals,
        trust=Trust(keys, section.fal_user_id, section.keep_seconds, canaries),
        claims=claims,
        spending=spending,
        handles=parts.handles,
        deliveries=deliveries,
        failed=FailedLogins(FAILED, FAILED_WINDOW, time.monotonic),
        max_body=section.max_body_bytes,
        body_budget=body_budget,
        clock=time.time,
    )
    urls = CallbackUrls(f"{server.public_origin}{server.prefix}", ours.seals, claims, clock=time.time)
    return WebhookLine(urls, callbacks, deliveries)
