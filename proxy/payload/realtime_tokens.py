"""Realtime tokens: the apps that a caller may get one for, and their lifetime.

A client with such a token talks to fal without the gateway until the token ends, so all rules apply beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from proxy.auth.authorization import Grant
from proxy.errors import UpstreamFailed, ValidationFailed
from proxy.fal_api.endpoint_ids import app_id
from proxy.fal_api.operations import REALTIME
from proxy.http.fields import Fields
from proxy.payload.body import Payload, parse_payload
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json, dump

# Both generations of fal's tokens (fal clients; fal docs, real-time): name of the lifetime, and place of the token.
_SECONDS = {"/tokens/": "token_expiration", "/tokens/realtime": "duration"}
_TOKEN_MEMBERS = ("token", "detail")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:-]{8,8192}")


class RealtimeTokens:
    """Rules for tokens. *apps*: endpoint ids. *max_seconds*: the longest life, and the default."""

    def __init__(self, apps: Iterable[str], *, max_seconds: int) -> None:
        listed = tuple(dict.fromkeys(apps))
        # The older route takes the alias of an app alone, the newer one the path of its realtime endpoint.
        aliases = tuple(dict.fromkeys(app_id(app).rpartition("/")[2] for app in listed))
        paths = tuple(f"{app}/realtime" for app in listed)
        self._max_seconds = max_seconds
        self._validators = {
            path: Validator(_schema(names, seconds))
            for (path, seconds), names in zip(_SECONDS.items(), (aliases, paths), strict=True)
        }

    def admit(self, grant: Grant, body: bytes) -> Payload:
        """Returns the request to fal; too long a life is shortened. Raises BadRequest, ValidationFailed."""
        path = grant.target.path
        value = parse_payload(body)
        errors = self._validators[path].violations(value)
        if errors or not isinstance(value, dict):
            raise ValidationFailed(errors)
        requested = value.get(_SECONDS[path])
        seconds = min(int(requested), self._max_seconds) if isinstance(requested, int | float) else self._max_seconds
        rebuilt: dict[str, Json] = {"allowed_apps": value["allowed_apps"], _SECONDS[path]: seconds}
        return Payload(REALTIME, rebuilt, dump(rebuilt))

    def forwarded_headers(self, fields: Fields) -> Fields:
        return ()

    def checked_response(self, body: bytes) -> bytes:
        """Returns fal's answer *body* with the token alone. Raises UpstreamFailed where it has none."""
        response = orjson.loads(body)
        if isinstance(response, str) and _TOKEN.fullmatch(response):
            return dump(response)
        for name in _TOKEN_MEMBERS if isinstance(response, dict) else ():
            token = response.get(name)
            if isinstance(token, str) and _TOKEN.fullmatch(token):
                return dump({name: token})
        raise UpstreamFailed(reason="fal answered a token request without a token")


def _schema(names: tuple[str, ...], seconds: str) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": {
            "allowed_apps": {"type": "array", "items": {"enum": list(names)}, "minItems": 1, "uniqueItems": True},
            seconds: {"type": "integer", "minimum": 1},
        },
        "required": ["allowed_apps"],
        "additionalProperties": False,
    }
