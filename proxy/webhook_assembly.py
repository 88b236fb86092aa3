"""Puts the parts of webhooks in mode "ours" together. Constructs and connects; decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from proxy.bodies import BodyBudget
from proxy.callback_claims import CallbackClaims
from proxy.callback_urls import CallbackUrls
from proxy.callbacks import Callbacks, Trust
from proxy.deliveries import Deliveries
from proxy.fal_signature import keys_of
from proxy.journal import Journal
from proxy.jwks import Jwks
from proxy.ledger import Ledger
from proxy.limits import FailedLogins
from proxy.parts import Parts
from proxy.spending import Spending
from proxy.upstream import tls_context

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
