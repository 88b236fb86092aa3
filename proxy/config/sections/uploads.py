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
        raise ValueError("name the hosts of uploads; fal's answer is checked against them")
    return host_pattern(text)


def _upload_type(text: str) -> str:
    registered = media_type(text) if text else None
    if registered not in EXTENSIONS:
        raise ValueError(f"not one of {', '.join(EXTENSIONS)}")
    return registered


class UploadsSection(Section):
    """Uploads to fal's CDN, for callers with *scope* if one is given. Without this table there are none.

    Callers announce the *content_types* here and PUT the file to *hosts*, where fal's answer must lead. A budget whose
    endpoints name "uploads" pays *price* for each. fal drops a file after *lifetime_seconds*: with "cap" a caller may
    ask for less, with "force" not.
    """

    content_types: tuple[Annotated[str, AfterValidator(_upload_type)], ...] = Field(default=PICTURES, min_length=1)
    hosts: tuple[Annotated[str, AfterValidator(_upload_host)], ...] = ("fal.media", "*.fal.media")
    lifetime_seconds: int | None = Field(default=None, ge=1, le=MAX_SECONDS)
    lifetime_mode: Literal["cap", "force"] = "cap"
    price: Units = 1.0
    scope: str | None = None


class RealtimeSection(Section):
    """Realtime tokens for *apps* (endpoint ids), each of at most *max_seconds*. Without this table there are none.

    A budget whose endpoints name "realtime" pays *price* for each token. Whoever has one talks to fal past the gateway.
    """

    apps: tuple[Annotated[str, AfterValidator(endpoint_id)], ...] = Field(min_length=1)
    max_seconds: int = Field(default=120, ge=1, le=3600)
    price: Units = 1.0
    scope: str | None = None
