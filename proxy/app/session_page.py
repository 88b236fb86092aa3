"""The page `…/session`: gives guest sessions, and ends sessions."""

from __future__ import annotations

from proxy import strict_json
from proxy.auth.authenticator import Authenticator
from proxy.auth.revocation.revocation_watch import RevocationWatch
from proxy.auth.sessions.guest_sessions import GuestSessions, ended_cookie
from proxy.auth.sessions.session_cookie import same_origin
from proxy.errors import MalformedJson, NotFound, StoreAway, ValidationFailed
from proxy.fal_api.operations import Action
from proxy.http.request import Request
from proxy.http.request_body import BodyBudget, announces_body, read_body
from proxy.ratelimit.rate_limiter import LimitedRequest, RateLimiter
from proxy.strict_json import Json

MAX_BODY = 4096  # bytes


class SessionPage:
    """Page of sessions. *guests* is None where they are off, *revocations* where they are.

    *origins* are those whose pages may ask for a guest session.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        limiter: RateLimiter,
        body_budget: BodyBudget,
        *,
        guests: GuestSessions | None,
        revocations: RevocationWatch | None,
        origins: frozenset[bytes],
    ) -> None:
        self._authenticator = authenticator
        self._limiter = limiter
        self._body_budget = body_budget
        self._guests = guests
        self._revocations = revocations
        self._origins = origins

    async def create(self, request: Request) -> tuple[Json, bytes]:
        """Returns the body and the Set-Cookie value of a new guest session.

        Raises NotFound where guests are off, Forbidden for another origin or a missing proof, and RateLimited.
        """
        if self._guests is None:
            raise NotFound()
        same_origin("POST", request.headers, self._origins)
        await self._limiter.hit(Action.SESSION, LimitedRequest(request.address, request.address))
        session = self._guests.create((await self._body(request)).get("proof"))
        return {"token": session.token, "expires_in": session.lifetime}, session.cookie

    async def end(self, request: Request) -> bytes:
        """Revokes the session of the request, and returns the Set-Cookie value that removes a guest's cookie.

        Raises NotFound where revocation is off, StoreAway where it could not be stored, else as `authenticate`.
        """
        caller = await self._authenticator.authenticate("DELETE", request.headers, request.address)
        if self._revocations is None:
            raise NotFound()
        try:
            await self._revocations.revoke_session(caller)
        except (OSError, ValueError) as error:
            raise StoreAway(reason=f"the revocation could not be stored: {error}") from error
        return ended_cookie()

    async def _body(self, request: Request) -> dict[str, Json]:
        if not announces_body(request.fields_by_name):
            return {}
        with self._body_budget.hold() as hold:
            raw = await read_body(request.receive, request.fields_by_name, limit=MAX_BODY, hold=hold)
        try:
            value = strict_json.parse(raw, max_depth=4) if raw.strip() else {}
        except MalformedJson as error:
            raise ValidationFailed([{"loc": ["body"], "msg": str(error), "type": "json_invalid"}]) from error
        if not isinstance(value, dict):
            raise ValidationFailed([{"loc": ["body"], "msg": "must be an object", "type": "dict_type"}])
        return value
