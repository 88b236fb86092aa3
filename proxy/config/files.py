"""The tables about files and about what is issued on fal's REST host: input files, uploads, realtime tokens."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from proxy.config.section import Section
from proxy.config.value_types import Units
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.fal_api.operations import WITHOUT_ENDPOINT, Action
from proxy.payload.file_names import EXTENSIONS
from proxy.payload.host_allowlist import host_pattern
from proxy.payload.input_files import MAX_BYTES, PICTURES
from proxy.payload.lifecycle import MAX_SECONDS

UPLOADED = "uploads"  # among the hosts of input files: wherever uploads go


def _file_host(text: str) -> str:
    return text if text == UPLOADED else host_pattern(text)


def _upload_host(text: str) -> str:
    if text == "*":
        raise ValueError("name the hosts of uploads; fal's answer is checked against them")
    return host_pattern(text)


def _media_type(text: str) -> str:
    if re.fullmatch(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}", text) is None:
        raise ValueError("not a media type in lower case, without parameters")
    return text


def _upload_type(text: str) -> str:
    if text not in EXTENSIONS:
        raise ValueError(f"not one of {', '.join(EXTENSIONS)}")
    return text


def _endpoint_action(action: Action) -> Action:
    if action in WITHOUT_ENDPOINT:
        raise ValueError("is no endpoint's; the tables [uploads] and [realtime] open uploads and tokens")
    return action


EndpointAction = Annotated[Action, AfterValidator(_endpoint_action)]


class Files(Section):
    """What an input file may be: a URL on one of *hosts*, or a data URI of one of *media_types*, *max_bytes* decoded.

    In *hosts* a name stands for itself, `*.` and a name for all below it, "uploads" for the hosts of [uploads], "*" for
    every public host. *fields* names members that hold files although their names do not end in url or uri.
    """

    hosts: tuple[Annotated[str, AfterValidator(_file_host)], ...] = ("*",)
    media_types: tuple[Annotated[str, AfterValidator(_media_type)], ...] = PICTURES
    max_bytes: int = Field(default=MAX_BYTES, ge=0, le=64 * 1024 * 1024)
    fields: tuple[str, ...] = ()


class UploadsSection(Section):
    """Uploads to fal's CDN, for callers with *scope* if one is given. Without this table there are none.

    Callers announce the *content_types* here and PUT the file to *hosts*, where fal's answer must lead. A budget whose
    endpoints name "uploads" pays *price* for each. fal drops a file after *lifetime_seconds*: with "cap" a caller may
    ask for less, with "force" not.
    """

    content_types: tuple[Annotated[str, AfterValidator(_upload_type)], ...] = Field(default=PICTURES, min_length=1)
    hosts: tuple[Annotated[str, AfterValidator(_upload_host)], ...] = ("fal.media", "*.fal.media")
    lifetime_seconds: int | None = Field(default=None, ge=1, le=MAX_SECONDS)
    lifetime: Literal["cap", "force"] = "cap"
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
