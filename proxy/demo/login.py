"""Login service of the demo, in the place of your app's: it signs users in with a cookie."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.auth.sessions.session_cookie import same_origin
from proxy.demo.example_calls import ExampleCalls
from proxy.errors import BadRequest, ClientGone, MalformedJson, MethodNotAllowed, NotFound, Refusal
from proxy.http.request_body import BodyBudget, json_content_type, read_body
from proxy.http.request_checks import check_request
from proxy.http.response import Response, error_response
from proxy.strict_json import Json, parse

_PATHS = b"/demo/"
_METHODS = ("GET", "POST", "DELETE")
_ALLOWED = {
    b"/demo/users": ["GET"],
    b"/demo/session": ["POST", "DELETE"],
    b"/demo/job": ["POST"],
    b"/demo/fault": ["POST"],
}
_MAX_BODY = 1024  # bytes


class LoginApp:
    """ASGI application that answers `/demo/users`, `/demo/session`, `/demo/job` and `/demo/fault`.

    *app*, the gateway, answers all else.

    *origin* is that of both, *tokens* are the sessions of the users, *budgets* their credits for a day.

    *examples* makes the calls of the last two routes.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        origin: str,
        tokens: Mapping[str, str],
        budgets: Mapping[str, float],
        examples: ExampleCalls,
    ) -> None:
        self._app = app
        self._users = orjson.dumps({"users": list(tokens), "credits": dict(budgets)})
        self._origin = origin.encode("ascii")
        self._tokens = tokens
        self._examples = examples
        self._name = cookie_name(origin)
        secure = "; Secure" if origin.startswith("https:") else ""
        self._attributes = f"; Path=/; HttpOnly; SameSite=Strict{secure}"
        self._bodies = BodyBudget(1024 * _MAX_BODY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["raw_path"].startswith(_PATHS):
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._answer(scope, receive)
        except Refusal as refusal:
            answer = error_response(refusal)
        except ClientGone:
            return
        fields = answer.wire_headers(b"demo")
        if answer.status == 204:  # RFC 9110 section 8.6: a 204 has no length
            fields = [field for field in fields if not field[0].startswith(b"content-length")]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        fields = check_request(scope, methods=_METHODS)
        match scope["raw_path"], scope["method"]:
            case b"/demo/users", "GET":
                return Response(200, self._users)
            case b"/demo/session", "POST":
                return self._cookie("", token=self._token(await self._read(scope, fields, receive)))
            case b"/demo/job", "POST":
                await self._read(scope, fields, receive)
                return Response(200, orjson.dumps(await self._examples.foreign_job()))
            case b"/demo/fault", "POST":
                await self._examples.set_fault((await self._read(scope, fields, receive)).get("fault"))
                return Response(200, b"{}")
            case b"/demo/session", "DELETE":
                same_origin("DELETE", scope["headers"], (self._origin,))
                return self._cookie("; Max-Age=0")
            case (b"/demo/users" | b"/demo/session" | b"/demo/job" | b"/demo/fault") as path, _:
                raise MethodNotAllowed(_ALLOWED[path])
        raise NotFound()

    async def _read(self, scope: Scope, fields: Mapping[bytes, bytes], receive: Receive) -> dict[str, Json]:
        """Returns the JSON object of a POST by the demo's own page. Raises the refusals of each check."""
        same_origin("POST", scope["headers"], (self._origin,))
        json_content_type(fields)
        with self._bodies.hold() as hold:
            body = await read_body(receive, fields, limit=_MAX_BODY, hold=hold)
        try:
            value = parse(body)
        except MalformedJson as error:
            raise BadRequest(str(error), error_type="malformed_json") from error
        return value if isinstance(value, dict) else {}

    def _token(self, body: Mapping[str, Json]) -> str:
        user = body.get("user")
        if not isinstance(user, str) or user not in self._tokens:
            raise BadRequest(f"user must be one of {', '.join(self._tokens)}", error_type="unknown_user")
        return self._tokens[user]

    def _cookie(self, more: str, *, token: str = "") -> Response:
        cookie = f"{self._name}={token}{self._attributes}{more}"
        return Response(204, b"", ((b"set-cookie", cookie.encode("ascii")),))


def cookie_name(origin: str) -> str:
    """Returns the cookie's name. Not all browsers accept a `__Host-` cookie over http on loopback."""
    return "__Host-fal-session" if origin.startswith("https:") else "fal-session"
