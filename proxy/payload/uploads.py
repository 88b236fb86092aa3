"""Uploads to fal's CDN: the announcements of callers, and the URLs in the answers of fal.

Only the announcement goes through the gateway. The client PUTs the file to the presigned URL in fal's answer.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from proxy.auth.authorization import Grant
from proxy.errors import UpstreamFailed, ValidationFailed
from proxy.fal_api.operations import UPLOADS
from proxy.http.fields import Fields
from proxy.payload.body import Payload, parse_payload
from proxy.payload.files.file_names import MAX_NAME, extension_problem, file_name, type_by_extension
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.files.lifecycle import Lifecycle
from proxy.payload.files.media_types import OCTET_STREAM, media_type
from proxy.payload.validation.error_messages import field_error
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json, dump


class Uploads:
    """Admission of upload announcements.

    *content_types* are keys of `file_names.EXTENSIONS`. *hosts*: hosts that the URLs in fal's answer may name.
    """

    def __init__(self, content_types: Iterable[str], *, hosts: HostAllowlist, lifecycle: Lifecycle) -> None:
        self._hosts = hosts
        self._lifecycle = lifecycle
        self._content_types = tuple(dict.fromkeys(content_types))
        self._validator = Validator(_schema(self._content_types))

    def admit(self, grant: Grant, body: bytes) -> Payload:
        """Returns the announcement with a harmless file name. Raises BadRequest and ValidationFailed."""
        value = self._registered(parse_payload(body))
        errors = self._validator.violations(value)
        if errors or not isinstance(value, dict):
            raise ValidationFailed(errors)
        content_type, name = str(value["content_type"]), str(value["file_name"])
        if (wrong := extension_problem(name)) is not None:
            raise ValidationFailed([field_error(["file_name"], "value_error", wrong)])
        rebuilt: dict[str, Json] = {"content_type": content_type, "file_name": file_name(name, content_type)}
        return Payload(UPLOADS, rebuilt, dump(rebuilt))

    def _registered(self, value: Json) -> Json:
        """Returns the announcement with its registered media type: no parameters, no alias, and not unknown.

        Windows sends no type, or application/octet-stream, for what it does not know; then the extension decides.
        """
        if not isinstance(value, dict) or not isinstance(content_type := value.get("content_type"), str):
            return value
        given = media_type(content_type)
        name = value.get("file_name")
        if given == OCTET_STREAM and isinstance(name, str):
            given = type_by_extension(name, self._content_types) or given
        return value if given is None else {**value, "content_type": given}

    def forwarded_headers(self, fields: Fields) -> Fields:
        """Returns the header fields for fal from the caller's *fields*. Raises BadRequest."""
        return self._lifecycle.forwarded_headers(fields)

    def checked_response(self, body: bytes) -> bytes:
        """Returns fal's answer *body* with its URLs alone. Raises UpstreamFailed where one leads elsewhere."""
        response = orjson.loads(body)
        urls: dict[str, Json] = {}
        for name in ("upload_url", "file_url"):
            url = response.get(name) if isinstance(response, dict) else None
            if not isinstance(url, str) or self._hosts.problem(url) is not None:
                # The URL is a credential, so the log has only its name.
                raise UpstreamFailed(reason=f"fal answered an upload with an {name} outside uploads.hosts")
            urls[name] = url
        return dump(urls)


def _schema(content_types: Iterable[str]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": {
            "content_type": {"enum": list(content_types)},
            "file_name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
        },
        "required": ["content_type", "file_name"],
        "additionalProperties": False,
    }
