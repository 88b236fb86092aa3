"""The [[endpoints]] table: model endpoints, payload rules and input files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from proxy.config.value_types import MIB, Number, Section
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.fal_api.operations import WITHOUT_ENDPOINT, Action
from proxy.near_names import did_you_mean
from proxy.payload.body import MAX_ELEMENTS, MOST_ELEMENTS
from proxy.payload.files.host_allowlist import host_pattern
from proxy.payload.files.input_files import MAX_BYTES
from proxy.payload.files.lifecycle import MAX_SECONDS
from proxy.payload.files.media_types import media_type
from proxy.payload.job_options import MAX_TAG_BYTES, MAX_TAGS, TAG_NAME, TAG_VALUE
from proxy.payload.shape import UnknownFields

UPLOADED = "uploads"  # among the hosts of input files: the hosts of [uploads]
DEFAULT_ACTIONS = (Action.SUBMIT, Action.STATUS, Action.STATUS_STREAM, Action.RESULT, Action.CANCEL)


def _file_host(text: str) -> str:
    if text == UPLOADED:
        return text
    try:
        return host_pattern(text)
    except ValueError as error:
        raise ValueError(f"{error}{did_you_mean(text, [UPLOADED])}") from None


def _media_type(text: str) -> str:
    registered = media_type(text) if text and ";" not in text else None
    if registered is None:
        raise ValueError("is not a media type without parameters, as in image/png")
    return registered


def _endpoint_action(action: Action) -> Action:
    if action in WITHOUT_ENDPOINT or action in (Action.SESSION, Action.QUOTE):
        raise ValueError("is not an action of an endpoint: see the tables [uploads], [realtime] and [guests]")
    return action


def _tags(tags: dict[str, str]) -> dict[str, str]:
    for name, value in tags.items():
        if TAG_NAME.fullmatch(name) is None or TAG_VALUE.fullmatch(value) is None:
            raise ValueError(
                f"{name}: a name is of a-z, 0-9, dots, hyphens and underscores and does not begin with fal.; "
                "a value is of visible characters without a comma or an equals sign"
            )
    if len(tags) > MAX_TAGS or sum(len(name) + len(value) + 2 for name, value in tags.items()) > MAX_TAG_BYTES:
        raise ValueError(f"must be at most {MAX_TAGS} tags of {MAX_TAG_BYTES} bytes in all")
    return tags


EndpointAction = Annotated[Action, AfterValidator(_endpoint_action)]


class Files(Section):
    """Input files of an endpoint: URLs of allowed hosts, and data URIs of allowed types."""

    hosts: tuple[Annotated[str, AfterValidator(_file_host)], ...] = Field(
        default=("*",),
        description="Hosts of file URLs. `*.` and a name allows every host below it, `uploads` the hosts of "
        "`[uploads]`, `*` every public host.",
    )
    media_types: tuple[Annotated[str, AfterValidator(_media_type)], ...] | None = Field(
        default=None,
        description="Media types of data URIs, without parameters. Left out, each field takes what it is for by its "
        "schema and name: image, video, audio or archive.",
    )
    max_bytes: int = Field(
        default=MAX_BYTES, ge=0, le=64 * MIB, description="Largest data URI, after decoding; 0 refuses them."
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Names of further fields that hold files, beside those that end in url or uri."
    )
    text_fields: tuple[str, ...] = Field(
        default=(),
        description="Names of further fields for prose, beside prompt, text, input, lyrics and messages[].content. "
        "A text there that begins like a URL is no file where it has white space inside.",
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
    schema_name: Literal["any"] | None = Field(
        default=None,
        alias="schema",
        description='`"any"` lists an endpoint without a schema: every JSON object is accepted as its input.',
    )
    schema_file: Path | None = Field(
        default=None,
        description="File of the schema, or a document of fal as it is. Left out, the endpoint's file in the folder "
        "of `[schemas] dir` is used, else the shipped schema.",
    )
    unknown_fields: UnknownFields = Field(
        default="refuse",
        description="Top-level fields that the schema does not have: `refuse` answers 422, `drop` removes them, "
        "`pass` sends them to fal.",
    )
    coerce: bool = Field(
        default=False, description="Take numbers and booleans that are written as text where the schema wants them."
    )
    max_elements: int = Field(
        default=MAX_ELEMENTS,
        ge=1,
        le=MOST_ELEMENTS,
        description="Most values in a request body: each object, list, text, number counts. More are refused with 413 "
        "before the body is parsed, as the parser stops all other requests of its process.",
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
    store_io: bool = Field(
        default=True, description="Whether fal may store inputs and outputs. `false` is always sent."
    )
    output_lifetime_seconds: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SECONDS,
        description="Time after which fal deletes the files of an output. A caller may ask for less.",
    )
    fallback: bool = Field(
        default=True, description="Whether fal may answer by an equivalent model. `false` is always sent."
    )
    tags: Annotated[dict[str, str], AfterValidator(_tags)] = Field(
        default_factory=dict,
        description="Tags of each job in fal's usage reports, at most 10. They win over those of callers.",
    )
    run_via: Literal["run", "queue"] = Field(
        default="run",
        description='"queue" carries each run over fal\'s queue: it then has a job that can be joined, listed and read '
        "later. Streams of runs stay as they are.",
    )
    unit_price: float | None = Field(
        default=None,
        ge=0,
        le=1e6,
        description='Price of one billable unit of fal, where `ledger.settle_by` is "billable". Endpoints of one app '
        "share it. Left out, `ledger.unit_price` is used.",
    )
    price: float | str | None = Field(
        default=None,
        description="Price of a job in your units: a number, or a CEL expression over `input` (docs/pricing.md). "
        "An endpoint that a budget covers needs one.",
        examples=["input.num_images * 0.025"],
    )
