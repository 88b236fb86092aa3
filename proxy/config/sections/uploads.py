"""The [uploads] and [realtime] tables: uploads to fal's CDN and realtime tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from proxy.config.value_types import Section, Units
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.payload.files.file_names import EXTENSIONS
from proxy.payload.files.host_allowlist import host_pattern
from proxy.payload.files.lifecycle import MAX_SECONDS
from proxy.payload.files.media_types import PICTURES, media_type


def _upload_host(text: str) -> str:
    if text == "*":
        raise ValueError("is not allowed here: fal's answer is checked against the listed hosts")
    return host_pattern(text)


def _upload_type(text: str) -> str:
    registered = media_type(text) if text else None
    if registered is None or registered not in EXTENSIONS:
        raise ValueError(f"is not one of {', '.join(EXTENSIONS)}")
    return registered


class UploadsSection(Section):
    """Uploads to fal's CDN. Without this table callers cannot upload files."""

    content_types: tuple[Annotated[str, AfterValidator(_upload_type)], ...] = Field(
        default=PICTURES, min_length=1, description="Content types that callers may announce."
    )
    hosts: tuple[Annotated[str, AfterValidator(_upload_host)], ...] = Field(
        default=("fal.media", "*.fal.media"),
        description="Hosts that fal's upload URLs may be on. An answer of fal with another host is refused.",
    )
    lifetime_seconds: int | None = Field(
        default=None, ge=1, le=MAX_SECONDS, description="Age at which fal deletes an uploaded file. None: fal decides."
    )
    lifetime_mode: Literal["cap", "force"] = Field(
        default="cap", description='With "cap" a caller may ask for a shorter lifetime, with "force" not.'
    )
    price: Units = Field(default=1.0, description='Price of an upload for budgets whose endpoints name "uploads".')
    scope: str | None = Field(
        default=None, description="Scope that the session token must have. Left out, no scope is needed."
    )


class RealtimeSection(Section):
    """Tokens for fal's realtime connections, which bypass the gateway.

    Without this table callers get none.
    """

    apps: tuple[Annotated[str, AfterValidator(endpoint_id)], ...] = Field(
        min_length=1, description="Endpoint ids that a token may be issued for."
    )
    max_seconds: int = Field(default=120, ge=1, le=3600, description="Longest lifetime of a token.")
    price: Units = Field(default=1.0, description='Price of a token for budgets whose endpoints name "realtime".')
    scope: str | None = Field(
        default=None, description="Scope that the session token must have. Left out, no scope is needed."
    )
