"""The [webhooks] table of the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from proxy.config.value_types import Section
from proxy.fal_api.webhook_url import parse_receiver_url, parse_webhook_host
from proxy.http.origin import Origin


def _receiver(text: str) -> str:
    origin, url = parse_receiver_url(text)
    Origin.parse(origin)
    return url


class WebhooksSection(Section):
    """What becomes of `fal_webhook`: "refuse" it, "allow" it to *hosts*, or "gateway": fal calls us, we call the app.

    In "gateway" each finished job is posted to *url*, signed with the comma-separated `whsec_...` secrets in
    *secrets_env* (docs/webhooks.md). *fal_user_id* is the account whose callbacks are believed. *keep_seconds*: a
    callback URL is good, and a delivery remembered, for so long. A delivery is tried *tries* times at once, then fal
    repeats its call. *concurrency* is the deliveries under way in one worker.
    """

    mode: Literal["refuse", "allow", "gateway"] = "refuse"
    hosts: tuple[Annotated[str, AfterValidator(parse_webhook_host)], ...] = ()
    url: Annotated[str, AfterValidator(_receiver)] | None = None
    ca_file: Path | None = None
    secrets_env: str = "FAL_PROXY_WEBHOOK_SECRETS"
    fal_user_id: str | None = Field(default=None, pattern=r"^[!-~]{1,128}$")
    jwks_max_age_seconds: float = Field(default=86_400.0, ge=60, le=7 * 86_400)
    keep_seconds: float = Field(default=2 * 86_400.0, ge=3600, le=30 * 86_400)
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    tries: int = Field(default=3, ge=1, le=10)
    try_seconds: float = Field(default=3.0, gt=0, le=12)
    concurrency: int = Field(default=32, ge=1, le=1000)
