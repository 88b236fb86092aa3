"""Authentication of one request: its session token, the session cookie, and the limit on bad sessions."""

from __future__ import annotations

from proxy.auth.authenticator import Authenticator, Caller
from proxy.auth.session_cookie import SessionCookie
from proxy.errors import Unauthenticated
from proxy.http.fields import first
from proxy.http.request import Request
from proxy.ratelimit.failed_logins import FailedLogins


class RequestAuthentication:
    """*cookie* is None where sessions come in a header only. *failed_logins* counts bad sessions by address."""

    def __init__(self, authenticator: Authenticator, cookie: SessionCookie | None, failed_logins: FailedLogins) -> None:
        self._authenticator = authenticator
        self._cookie = cookie
        self._failed_logins = failed_logins

    def authenticate(self, request: Request) -> Caller:
        """Returns the caller. Raises Unauthenticated, and RateLimited after many bad sessions from one address."""
        authorization = request.named.get(b"authorization")
        if authorization is None and self._cookie is not None:
            authorization = first(self._cookie.as_authorization(request.method, request.headers), b"authorization")
        try:
            return self._authenticator.authenticate(
                authorization, before_verifying=lambda: self._failed_logins.check(request.address)
            )
        except Unauthenticated:
            # Without a session nothing was guessed: any page can make its visitors' browsers send such requests.
            if authorization is not None:
                self._failed_logins.record(request.address)
            raise

    def session_expiry(self, caller: Caller) -> float:
        """Returns when *caller*'s session ends, in unix seconds."""
        return self._authenticator.session_expiry(caller)
