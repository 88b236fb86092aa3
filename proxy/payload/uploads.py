"""Uploads to fal's CDN: what a caller may announce, and whereto fal may send them with it.

Only the announcement goes through the gate. The file is PUT to the presigned URL in fal's answer, past us.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from proxy.auth.authorization import Grant
from proxy.errors import UpstreamFailed, ValidationFailed
from proxy.fal_api.operations import UPLOADS
from proxy.http.fields import Fields
from proxy.payload.body import Payload, parse_payload
from proxy.payload.files.file_names import MAX_NAME, extension_problem, file_name
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.files.lifecycle import Lifecycle
from proxy.payload.validation.error_messages import field_error
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json, dump


class Uploads:
    """*content_types* are keys of `file_names.EXTENSIONS`, *hosts* where fal's answer may lead."""

    def __init__(self, content_types: Iterable[str], *, hosts: HostAllowlist, lifecycle: Lifecycle) -> None:
        self._hosts = hosts
        self._lifecycle = lifecycle
        self._validator = Validator(_schema(content_types))

    def admit(self, grant: Grant, body: bytes) -> Payload:
        """`{"content_type", "file_name"}`, the name made anew. Raises BadRequest and ValidationFailed."""
        value = parse_payload(body)
        errors = self._validator.violations(value)
        if errors or not isinstance(value, dict):
            raise ValidationFailed(errors)
        content_type, name = str(value["content_type"]), str(value["file_name"])
        if (wrong := extension_problem(name)) is not None:
            raise ValidationFailed([field_error(["file_name"], "value_error", wrong)])
        rebuilt: dict[str, Json] = {"content_type": content_type, "file_name": file_name(name, content_type)}
        return Payload(UPLOADS, rebuilt, dump(rebuilt))

    def forwarded_headers(self, fields: Fields) -> Fields:
        """What of the caller's *fields* goes on to fal. Raises BadRequest."""
        return self._lifecycle.forwarded_headers(fields)

    def checked_response(self, said: bytes) -> bytes:
        """fal's answer, of which nothing but the two URLs goes on. Raises UpstreamFailed where one leads elsewhere."""
        told = orjson.loads(said)
        answer: dict[str, Json] = {}
        for name in ("upload_url", "file_url"):
            url = told.get(name) if isinstance(told, dict) else None
            if not isinstance(url, str) or self._hosts.problem(url) is not None:
                # The URL is a credential, so the log hears only which one it was.
                raise UpstreamFailed(reason=f"fal answered an upload with an {name} outside uploads.hosts")
            answer[name] = url
        return dump(answer)


def _schema(content_types: Iterable[str]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": {
            "content_type": {"enum": list(dict.fromkeys(content_types))},
            "file_name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
        },
        "required": ["content_type", "file_name"],
        "additionalProperties": False,
    }
