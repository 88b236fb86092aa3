"""Pages about the caller: the description of the listed endpoints, and what is left of the caller's allowances."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.app.openapi import openapi_document
from proxy.auth.authenticator import Authenticator, Caller
from proxy.auth.authorization import Listing
from proxy.auth.session_cookie import SessionCookie
from proxy.billing.reservations import Accounting
from proxy.billing.usage_report import format_usage
from proxy.http.fields import Fields
from proxy.payload.policy import Policy
from proxy.strict_json import Json


class CallerPages:
    """Answers GET requests for pages that need a session. *fields* are the header fields of the request."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        cookie: SessionCookie | None,
        listings: Sequence[Listing],
        policy: Policy,
        accounting: Accounting,
    ) -> None:
        self._authenticator = authenticator
        self._cookie = cookie
        self._listings = listings
        self._policy = policy
        self._accounting = accounting

    def identify(self, fields: Fields) -> Caller:
        """Returns the caller of a page. Raises Unauthenticated."""
        if self._cookie is not None:
            fields = self._cookie.as_authorization("GET", fields)
        return self._authenticator.identify(fields)

    def openapi(self, fields: Fields, public_url: str) -> Json:
        """Returns the OpenAPI document, with *public_url* as its server. Raises Unauthenticated."""
        self.identify(fields)
        cookie = None if self._cookie is None else self._cookie.name.decode("ascii")
        return openapi_document(self._listings, self._policy, public_url=public_url, cookie=cookie)

    async def usage(self, fields: Fields) -> Json:
        """Returns what the caller has left, over all listed endpoints. Raises Unauthenticated and StoreAway."""
        caller = self.identify(fields)
        endpoints = tuple(listing.endpoint for listing in self._listings)
        return format_usage(await self._accounting.allowances(caller, endpoints))
