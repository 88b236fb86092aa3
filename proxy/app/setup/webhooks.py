"""Webhooks in mode "gateway", put together from their components."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from proxy.app.setup.components import Components
from proxy.auth.keys.jwks import Jwks
from proxy.billing.ledger.interface import Ledger
from proxy.billing.reservations import Accounting
from proxy.http.client.tls import tls_context
from proxy.http.request_body import BodyBudget
from proxy.ratelimit.failed_logins import FailedLogins
from proxy.telemetry.json_log import JsonLogWriter
from proxy.upstream.secret_filter import SecretSearch
from proxy.webhooks.callback_url import CallbackUrls
from proxy.webhooks.delivery_state import DeliveryState
from proxy.webhooks.fal_signature import parse_jwks
from proxy.webhooks.receiver import VerificationSettings, WebhookReceiver
from proxy.webhooks.sender import WebhookSender

FAILED = 30  # bad webhooks of one address in FAILED_WINDOW seconds; further ones are refused unread
FAILED_WINDOW = 60
_HOLD_OVER_DELIVERY = 10.0  # seconds, for the ledger's own waits


@dataclass(frozen=True, slots=True)
class WebhookComponents:
    """The callback URLs that fal gets, the receiver behind them, and the sender to the app."""

    urls: CallbackUrls
    callbacks: WebhookReceiver
    deliveries: WebhookSender


def build_webhooks(
    components: Components,
    *,
    ledger: Ledger,
    accounting: Accounting,
    body_budget: BodyBudget,
    journal: JsonLogWriter,
    away: Callable[[], None],
) -> WebhookComponents | None:
    """Builds the receiver and the sender. Returns None in other modes."""
    settings = components.webhooks
    if settings is None:
        return None
    section = components.config.webhooks
    hold = settings.schedule.total_seconds + _HOLD_OVER_DELIVERY
    claims = DeliveryState(ledger, keep=section.keep_seconds, hold=hold, clock=time.time, away=away)
    deliveries = WebhookSender(
        settings.url,
        settings.signature,
        settings.schedule,
        concurrency=section.concurrency,
        tls=settings.tls,
        clock=time.time,
    )
    keys = Jwks(
        f"{components.config.fal.rest_origin}/.well-known/jwks.json",
        parse_jwks,
        tls=components.tls or tls_context(),
        max_age=section.jwks_max_age_seconds,
        clock=time.monotonic,
        report=lambda text: journal.write({"event": "fal_keys", "reason": text}),
    )
    secrets = SecretSearch(components.fal_secrets)
    callbacks = WebhookReceiver(
        cipher=settings.seals,
        verification=VerificationSettings(keys, frozenset(section.fal_user_id), section.keep_seconds, secrets),
        state=claims,
        accounting=accounting,
        handles=components.handles,
        sender=deliveries,
        failed=FailedLogins(FAILED, FAILED_WINDOW, time.monotonic),
        max_body=section.max_body_bytes,
        body_budget=body_budget,
        clock=time.time,
    )
    urls = CallbackUrls(settings.seals, claims, clock=time.time)
    return WebhookComponents(urls, callbacks, deliveries)
