"""Webhooks in mode "ours", vetted: made from the [webhooks] of a configuration and its environment."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from proxy.config.loader import Config, secret
from proxy.errors import Problem
from proxy.http.client.tls import tls_context
from proxy.webhooks.callback_seal import Seals
from proxy.webhooks.sender import Schedule
from proxy.webhooks.standard_webhooks import AppSignature

T = TypeVar("T")

FAL_PATIENCE = 15.0  # seconds fal gives a first attempt (fal docs, webhooks)
_SPARED = 1.0  # of them, for all but the delivery


@dataclass(frozen=True, slots=True)
class OurWebhooks:
    url: str
    tls: ssl.SSLContext
    schedule: Schedule
    seals: Seals = field(repr=False)
    signature: AppSignature = field(repr=False)


def webhooks_of(config: Config, seals: Seals, problems: list[Problem]) -> OurWebhooks | None:
    """None in the other modes, or with what is wrong added to *problems*."""
    section = config.webhooks
    if section.mode == "allow" and not section.hosts:
        problems.append(Problem("webhooks.hosts", 'mode "allow" needs at least one'))
    if section.mode != "allow" and section.hosts:
        problems.append(Problem("webhooks.hosts", 'is for mode "allow" only'))
    if section.mode != "ours":
        if section.url is not None:
            problems.append(Problem("webhooks.url", 'is for mode "ours" only'))
        return None

    def made(key: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except (ValueError, OSError) as error:
            problems.append(Problem(key, str(error)))
            return None

    url = section.url
    schedule = Schedule(section.tries, section.try_seconds)
    if url is None:
        problems.append(Problem("webhooks.url", 'mode "ours" needs it'))
    if schedule.whole > FAL_PATIENCE - _SPARED:
        problems.append(
            Problem("webhooks.try_seconds", f"{section.tries} tries take longer than fal waits for an answer")
        )
    signature = made("webhooks.secrets_env", lambda: AppSignature(secret(config, section.secrets_env).split(",")))
    file = None if section.ca_file is None else str(config.base / section.ca_file)
    tls = made("webhooks.ca_file", lambda: tls_context(file))
    if url is None or signature is None or tls is None:
        return None
    return OurWebhooks(url, tls, schedule, seals, signature)
