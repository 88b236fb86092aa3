"""The [[endpoints]] table: model endpoints, payload rules and input files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from proxy.config.value_types import MIB, Number, Section
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.fal_api.operations import WITHOUT_ENDPOINT, Action
from proxy.payload.files.host_allowlist import host_pattern
from proxy.payload.files.input_files import MAX_BYTES, PICTURES

UPLOADED = "uploads"  # among the hosts of input files: the hosts of [uploads]
DEFAULT_ACTIONS = (Action.SUBMIT, Action.STATUS, Action.STATUS_STREAM, Action.RESULT, Action.CANCEL)


def _file_host(text: str) -> str:
    return text if text == UPLOADED else host_pattern(text)


def _media_type(text: str) -> str:
    if re.fullmatch(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}", text) is None:
        raise ValueError("is not a media type in lower case and without parameters, as in image/png")
    return text


def _endpoint_action(action: Action) -> Action:
    if action in WITHOUT_ENDPOINT:
        raise ValueError("is not an action of an endpoint: see the tables [uploads] and [realtime]")
    return action


EndpointAction = Annotated[Action, AfterValidator(_endpoint_action)]


class Files(Section):
    """Input files of an endpoint: URLs of allowed hosts, and data URIs of allowed types."""

    hosts: tuple[Annotated[str, AfterValidator(_file_host)], ...] = Field(
        default=("*",),
        description="Hosts of file URLs. `*.` and a name allows every host below it, `uploads` the hosts of "
        "`[uploads]`, `*` every public host.",
    )
    media_types: tuple[Annotated[str, AfterValidator(_media_type)], ...] = Field(
        default=PICTURES, description="Media types of data URIs, in lower case and without parameters."
    )
    max_bytes: int = Field(
        default=MAX_BYTES, ge=0, le=64 * MIB, description="Largest data URI, after decoding; 0 refuses them."
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Names of further fields that hold files, beside those that end in url or uri."
    )


class Endpoint(Section):
    """A model endpoint that callers may use. Endpoints that are not listed are refused."""

    id: Annotated[str, AfterValidator(endpoint_id)] = Field(
        description="fal's id of the endpoint, as in `fal-ai/flux/dev`.", examples=["fal-ai/flux/dev"]
    )
    actions: tuple[EndpointAction, ...] = Field(
        default=DEFAULT_ACTIONS,
        description="Operations that callers may use. Beside the default there are `run` and `run-stream`, "
        "whose jobs cannot be cancelled or read again.",
    )
    scope: str | None = Field(
        default=None, description="Scope that the session token must have. Left out, no scope is needed."
    )
    allow: str | None = Field(
        default=None,
        description="CEL expression over `claims`, the claims of the session token, that must be true. "
        "A false or failing one denies.",
        examples=["claims.plan == 'pro' || 'beta' in claims.roles"],
    )
    schema_file: Path | None = Field(
        default=None, description="File of the input schema (JSON Schema). Left out, the shipped schema is used."
    )
    force: dict[str, JsonValue] = Field(
        default_factory=dict, description="Values that are always sent, in place of the caller's."
    )
    default: dict[str, JsonValue] = Field(
        default_factory=dict, description="Values that are sent where the caller leaves the field out."
    )
    cap: dict[str, Number] = Field(
        default_factory=dict,
        description="Upper limits: of a number its value, of a string its characters, of a list its items.",
    )
    forbid: tuple[str, ...] = Field(default=(), description="Fields that a request must not have.")
    files: Files = Field(default=Files(), description="Rules for input files.")
    price: str | None = Field(
        default=None,
        description="Price of a job in your units: a CEL expression over `input`. "
        "An endpoint that a budget covers needs one.",
        examples=["input.num_images * 0.025"],
    )
