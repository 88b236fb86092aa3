"""Settings of webhooks in mode "gateway", built from [webhooks] and the environment."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from proxy.config.loader import Config, secret
from proxy.errors import Problem
from proxy.http.client.tls import tls_context
from proxy.webhooks.callback_seal import CallbackCipher
from proxy.webhooks.sender import RetrySchedule
from proxy.webhooks.standard_webhooks import AppSignature

T = TypeVar("T")

FAL_WEBHOOK_TIMEOUT = 15.0  # seconds of a first attempt of fal (fal docs, webhooks)
_OVERHEAD = 1.0  # seconds of them for all but the delivery


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Checked settings of the receiver and the sender. Its secrets are not in its repr."""

    url: str
    tls: ssl.SSLContext
    schedule: RetrySchedule
    seals: CallbackCipher = field(repr=False)
    signature: AppSignature = field(repr=False)


def build_webhook_settings(config: Config, seals: CallbackCipher, problems: list[Problem]) -> WebhookSettings | None:
    """Builds the settings. Returns None in other modes, and where it adds to *problems*."""
    section = config.webhooks
    if section.mode == "allow" and not section.hosts:
        problems.append(Problem("webhooks.hosts", 'mode "allow" needs at least one'))
    if section.mode != "allow" and section.hosts:
        problems.append(Problem("webhooks.hosts", 'is for mode "allow" only'))
    if section.mode != "gateway":
        if section.url is not None:
            problems.append(Problem("webhooks.url", 'is for mode "gateway" only'))
        return None

    def try_build(key: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except (ValueError, OSError) as error:
            problems.append(Problem(key, str(error)))
            return None

    url = section.url
    schedule = RetrySchedule(section.tries, section.try_seconds)
    if url is None:
        problems.append(Problem("webhooks.url", 'mode "gateway" needs it'))
    if schedule.total_seconds > FAL_WEBHOOK_TIMEOUT - _OVERHEAD:
        problems.append(
            Problem("webhooks.try_seconds", f"{section.tries} tries take longer than fal waits for an answer")
        )
    signature = try_build("webhooks.secrets_env", lambda: AppSignature(secret(config, section.secrets_env).split(",")))
    file = None if section.ca_file is None else str(config.base / section.ca_file)
    tls = try_build("webhooks.ca_file", lambda: tls_context(file))
    if url is None or signature is None or tls is None:
        return None
    return WebhookSettings(url, tls, schedule, seals, signature)
