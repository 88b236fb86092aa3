"""Realtime tokens: which apps a caller may get one for, and for how long.

Whoever has such a token talks to fal without us until it ends. What can be decided is decided here, beforehand.
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

# Both generations of fal's mint (fal clients; fal docs, real-time): how long, and where the token is in the answer.
_SECONDS = {"/tokens/": "token_expiration", "/tokens/realtime": "duration"}
_TOKEN_MEMBERS = ("token", "detail")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:-]{8,8192}")


class RealtimeTokens:
    """*apps* are endpoint ids; *max_seconds* is the longest life of a token, and of one that asks for none."""

    def __init__(self, apps: Iterable[str], *, max_seconds: int) -> None:
        listed = tuple(dict.fromkeys(apps))
        # The older mint names an app by its alias alone, the newer one by the path of its realtime endpoint.
        aliases = tuple(dict.fromkeys(app_id(app).rpartition("/")[2] for app in listed))
        paths = tuple(f"{app}/realtime" for app in listed)
        self._max_seconds = max_seconds
        self._validators = {
            path: Validator(_schema(names, seconds))
            for (path, seconds), names in zip(_SECONDS.items(), (aliases, paths), strict=True)
        }

    def admit(self, grant: Grant, body: bytes) -> Payload:
        """Raises BadRequest and ValidationFailed. A longer life than allowed becomes the longest, as clients expect."""
        path = grant.target.path
        value = parse_payload(body)
        errors = self._validators[path].violations(value)
        if errors or not isinstance(value, dict):
            raise ValidationFailed(errors)
        asked = value.get(_SECONDS[path])
        seconds = min(int(asked), self._max_seconds) if isinstance(asked, int | float) else self._max_seconds
        rebuilt: dict[str, Json] = {"allowed_apps": value["allowed_apps"], _SECONDS[path]: seconds}
        return Payload(REALTIME, rebuilt, dump(rebuilt))

    def forwarded_headers(self, fields: Fields) -> Fields:
        return ()

    def checked_response(self, said: bytes) -> bytes:
        """fal's answer, of which nothing but the token goes on. Raises UpstreamFailed where there is none."""
        told = orjson.loads(said)
        if isinstance(told, str) and _TOKEN.fullmatch(told):
            return dump(told)
        for name in _TOKEN_MEMBERS if isinstance(told, dict) else ():
            token = told.get(name)
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
