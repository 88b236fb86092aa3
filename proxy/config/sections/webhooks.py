"""The [webhooks] table of the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from proxy.config.value_types import DAY, HOUR, MIB, MINUTE, Section
from proxy.fal_api.webhook_url import parse_receiver_url, parse_webhook_host
from proxy.http.origin import Origin


def _receiver(text: str) -> str:
    origin, url = parse_receiver_url(text)
    Origin.parse(origin)
    return url


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


UserId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]


class WebhooksSection(Section):
    """Webhooks of finished jobs: from fal to the gateway, and from it to your app (docs/webhooks.md)."""

    mode: Literal["refuse", "allow", "gateway"] = Field(
        default="refuse",
        description='"refuse" refuses a submit with `fal_webhook`. "allow" forwards it where its host is in `hosts`. '
        '"gateway" receives fal\'s webhook and sends a signed one to `url`.',
    )
    hosts: tuple[Annotated[str, AfterValidator(parse_webhook_host)], ...] = Field(
        default=(), description='Hosts that callers\' webhook URLs may be on, where `mode` is "allow".'
    )
    url: Annotated[str, AfterValidator(_receiver)] | None = Field(
        default=None, description='URL of your app that finished jobs are sent to, where `mode` is "gateway".'
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of the certificate authorities to trust for `url`, not the system's."
    )
    secrets_env: str = Field(
        default="FAL_PROXY_WEBHOOK_SECRETS",
        description="Environment variable that holds the `whsec_...` secrets, separated by commas. All sign.",
    )
    fal_user_id: Annotated[tuple[UserId, ...], BeforeValidator(_names)] = Field(
        default=(),
        description="One or several accounts whose webhooks are accepted, those of all fal keys. Left out: webhooks of "
        "every fal account that carry a callback URL of this gateway.",
        examples=["user_2abc"],
    )
    jwks_max_age_seconds: float = Field(
        default=float(DAY), ge=MINUTE, le=7 * DAY, description="Age at which fal's signing keys are fetched again."
    )
    keep_seconds: float = Field(
        default=2.0 * DAY,
        ge=HOUR,
        le=30 * DAY,
        description="Time for which a callback URL is valid and a delivery is remembered.",
    )
    max_body_bytes: int = Field(
        default=16 * MIB, ge=1024, le=64 * MIB, description="Largest webhook of fal. A larger one is refused."
    )
    tries: int = Field(
        default=3, ge=1, le=10, description="Attempts to deliver to `url` at once; after them fal repeats its webhook."
    )
    try_seconds: float = Field(
        default=3.0, gt=0, le=12, description="Time for one attempt. All attempts must fit into fal's 15 seconds."
    )
    concurrency: int = Field(default=32, ge=1, le=1000, description="Most deliveries at once in one worker.")
