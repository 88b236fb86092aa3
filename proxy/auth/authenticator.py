"""Authenticator of requests: by the Authorization field, a session cookie or a platform's header."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from proxy.auth.caller import Caller
from proxy.auth.sessions.jws import MAX_TOKEN, malformed
from proxy.auth.sessions.session_cookie import SessionCookie, check_ambient
from proxy.auth.token_verifier import Credential, TokenVerifier, build_credential
from proxy.errors import BadRequest, Unauthenticated
from proxy.http.fields import Fields

_SCHEMES = frozenset({b"bearer", b"key"})  # RFC 6750; fal's own, which its clients send for `credentials`


class FailedLoginLimit(Protocol):
    """Count of failed logins by client address, shared by all routes that take a session."""

    async def check(self, address: str) -> None:
        """Raises RateLimited where *address* is over the limit and has no verification to spare."""
        ...

    async def record(self, address: str) -> None:
        """Counts one failed login of *address*. Raises RateLimited where it was over the limit before."""
        ...


class Unlimited:
    """Failed logins without a count: for tools and tests."""

    async def check(self, address: str) -> None:
        """Raises nothing."""

    async def record(self, address: str) -> None:
        """Counts nothing."""


class Authenticator:
    """Authenticator of requests.

    *headers* are the fields of front platforms that may carry a token, in lower case.

    Of *cookies* the first that is present counts. *origins* are those from which a browser may use a credential that
    it, or the platform, attaches by itself. A stream may go on for *outlive* seconds after the end of its session.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        cookies: Sequence[SessionCookie] = (),
        headers: Iterable[bytes] = (),
        origins: frozenset[bytes] = frozenset(),
        failed_logins: FailedLoginLimit | None = None,
        outlive: float = 0.0,
    ) -> None:
        self._verifier = verifier
        self._cookies = tuple(cookies)
        self._headers = frozenset(headers)
        self._origins = origins
        self._failed_logins = failed_logins or Unlimited()
        self._outlive = outlive

    async def authenticate(self, method: str, fields: Fields, address: str) -> Caller:
        """Returns the caller of a request with *fields* (names in lower case) from *address* (IP text).

        Raises Unauthenticated, and BadRequest for a repeated field. Forbidden and UnsupportedMediaType: a page of
        another origin may have sent a cookie. RateLimited: too many failed logins. Unavailable: no keys.
        """
        single = self._single_credential(fields)
        if single is not None:
            cached = self._verifier.cached(single.cache_key)
            if cached is not None:
                return cached
        try:
            if single is not None:
                return await self._verify(single, address)
            callers = [await self._caller(one, address) for one in self._credentials(method, fields)]
        except Unauthenticated as refusal:
            # Without a session nothing was guessed: any page can make browsers send such requests.
            if refusal.counts:
                await self._failed_logins.record(address)
            raise
        if len({caller.key for caller in callers}) > 1:
            raise Unauthenticated(reason="the request carries the sessions of two callers")
        return callers[0]

    def session_expiry(self, caller: Caller) -> float:
        """Returns the time until which a stream of *caller* may go on, in seconds since the epoch.

        It is the end of the session, its issuer's leeway and the time that a stream may outlive it included.
        """
        return caller.session_end + self._outlive

    def _single_credential(self, fields: Fields) -> Credential | None:
        """Returns the credential of a request with one, in its Authorization: nearly every one."""
        by_name = dict(fields)
        authorization = by_name.get(b"authorization")
        if authorization is None or len(authorization) > MAX_TOKEN or len(by_name) < len(fields):
            return None
        if self._headers and not self._headers.isdisjoint(by_name):
            return None
        scheme, _, token = authorization.partition(b" ")
        return build_credential(token) if scheme.lower() in _SCHEMES else None

    async def _caller(self, credential: Credential, address: str) -> Caller:
        cached = self._verifier.cached(credential.cache_key)
        return await self._verify(credential, address) if cached is None else cached

    async def _verify(self, credential: Credential, address: str) -> Caller:
        token = self._verifier.parse(credential)
        # Parsing is cheap and comes first: garbage does not use up the verifications that the limit leaves.
        await self._failed_logins.check(address)
        return await self._verifier.verify(token)

    def _credentials(self, method: str, fields: Fields) -> list[Credential]:
        """Returns at least one credential, Authorization first.

        A bad Authorization never falls back to a cookie.
        """
        authorization: list[bytes] = []
        platform: list[Credential] = []
        for name, value in fields:
            if name == b"authorization":
                authorization.append(value)
            elif name in self._headers:
                platform.append(build_credential(value, name))
        if len(authorization) > 1 or len({one.header for one in platform}) < len(platform):
            raise BadRequest("The header that carries the session is given twice", error_type="bad_header")
        if authorization:
            return [build_credential(_parse_authorization(authorization[0])), *platform]
        cookies = [build_credential(token) for token in self._cookie_token(method, fields)]
        if platform:
            check_ambient(method, fields, self._origins)
        if not cookies and not platform:
            raise Unauthenticated(reason="no Authorization header")
        return [*cookies, *platform]

    def _cookie_token(self, method: str, fields: Fields) -> list[bytes]:
        for cookie in self._cookies:
            if (token := cookie.token(method, fields)) is not None:
                return [token]
        return []


def _parse_authorization(value: bytes) -> bytes:
    if len(value) > MAX_TOKEN:
        raise malformed("the Authorization header is too long")
    scheme, _, token = value.partition(b" ")
    if scheme.lower() not in _SCHEMES:
        raise malformed("the scheme is neither Bearer nor Key")
    return token
