"""The [[endpoints]] table: model endpoints, payload rules and input files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from proxy.config.value_types import Number, Section
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.fal_api.operations import WITHOUT_ENDPOINT, Action
from proxy.payload.host_allowlist import host_pattern
from proxy.payload.input_files import MAX_BYTES, PICTURES

UPLOADED = "uploads"  # among the hosts of input files: wherever uploads go
DEFAULT_ACTIONS = (Action.SUBMIT, Action.STATUS, Action.STATUS_STREAM, Action.RESULT, Action.CANCEL)


def _file_host(text: str) -> str:
    return text if text == UPLOADED else host_pattern(text)


def _media_type(text: str) -> str:
    if re.fullmatch(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}", text) is None:
        raise ValueError("not a media type in lower case, without parameters")
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


class Endpoint(Section):
    """One model endpoint that callers may use; whatever is not listed is refused."""

    id: Annotated[str, AfterValidator(endpoint_id)]
    actions: tuple[EndpointAction, ...] = DEFAULT_ACTIONS
    scope: str | None = None
    schema_file: Path | None = None
    force: dict[str, JsonValue] = Field(default_factory=dict)
    default: dict[str, JsonValue] = Field(default_factory=dict)
    cap: dict[str, Number] = Field(default_factory=dict)
    forbid: tuple[str, ...] = ()
    files: Files = Files()
    price: str | None = None
