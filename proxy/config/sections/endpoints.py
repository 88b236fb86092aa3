"""The [[endpoints]] table: model endpoints, payload rules and input files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from proxy.config.value_types import Number, Section
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.fal_api.operations import WITHOUT_ENDPOINT, Action
from proxy.payload.files.host_allowlist import host_pattern
from proxy.payload.files.input_files import MAX_BYTES
from proxy.payload.files.media_types import media_type
from proxy.payload.shape import UnknownFields

UPLOADED = "uploads"  # among the hosts of input files: wherever uploads go
DEFAULT_ACTIONS = (Action.SUBMIT, Action.STATUS, Action.STATUS_STREAM, Action.RESULT, Action.CANCEL)


def _file_host(text: str) -> str:
    return text if text == UPLOADED else host_pattern(text)


def _media_type(text: str) -> str:
    registered = media_type(text) if text and ";" not in text else None
    if registered is None:
        raise ValueError('not a media type without parameters ("image/png")')
    return registered


def _endpoint_action(action: Action) -> Action:
    if action in WITHOUT_ENDPOINT:
        raise ValueError("is no endpoint's; the tables [uploads] and [realtime] open uploads and tokens")
    return action


EndpointAction = Annotated[Action, AfterValidator(_endpoint_action)]


class Files(Section):
    """Rules for input files: URLs and data URIs in the payload, in fields for files and wherever a text is a URL."""

    hosts: tuple[Annotated[str, AfterValidator(_file_host)], ...] = Field(
        default=("*",),
        description='Hosts that URLs may name: a name, "*." and a name for all below it, "uploads" for the hosts of '
        '[uploads], "*" for every public host.',
    )
    media_types: tuple[Annotated[str, AfterValidator(_media_type)], ...] | None = Field(
        default=None,
        description="Media types of data URIs. Left out: what each field is for (image, video, audio, archive) by "
        "fal's schema.",
    )
    max_bytes: int = Field(
        default=MAX_BYTES, ge=0, le=64 * 1024 * 1024, description="Largest file in a data URI, in bytes once decoded."
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Further fields that hold files although their names do not end in url or uri."
    )
    text_fields: tuple[str, ...] = Field(
        default=(),
        description="Further fields for prose, beside prompt, text, input, lyrics and messages[].content: a text "
        "with white space in it is no file there.",
    )


class Endpoint(Section):
    """One model endpoint that callers may use; whatever is not listed is refused."""

    id: Annotated[str, AfterValidator(endpoint_id)]
    actions: tuple[EndpointAction, ...] = DEFAULT_ACTIONS
    scope: str | None = None
    schema_name: Literal["any"] | None = Field(
        default=None,
        alias="schema",
        description='"any" lists an endpoint without a schema: every JSON object is accepted as its input.',
    )
    schema_file: Path | None = Field(
        default=None,
        description="A schema file, or a document of fal as it is. Left out: the endpoint's file in the folder of "
        "[schemas] dir, else the schema that is shipped.",
    )
    unknown_fields: UnknownFields = Field(
        default="refuse",
        description="Top-level fields that the schema does not have: answered 422, dropped, or passed on to fal.",
    )
    coerce: bool = Field(
        default=False, description="Take numbers and booleans written as text where the schema wants them."
    )
    force: dict[str, JsonValue] = Field(default_factory=dict)
    default: dict[str, JsonValue] = Field(default_factory=dict)
    cap: dict[str, Number] = Field(default_factory=dict)
    forbid: tuple[str, ...] = ()
    files: Files = Files()
    price: float | str | None = Field(
        default=None,
        description="Price of a request in the operator's units: a number, or a CEL expression over the input.",
    )
