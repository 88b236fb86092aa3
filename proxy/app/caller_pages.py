"""Pages for the caller: the description of the listed endpoints, and the rest of the budgets."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.app.api_description.document import openapi_document
from proxy.auth.authenticator import Authenticator
from proxy.auth.authorization import Listing
from proxy.auth.caller import Caller
from proxy.billing.reservations import Accounting
from proxy.billing.usage_report import format_usage
from proxy.http.request import Request
from proxy.payload.policy import Policy
from proxy.strict_json import Json
from proxy.telemetry.access_record import AccessRecord


class CallerPages:
    """Answers GET requests for pages that need a session. *cookie*: name of the session cookie.

    *jobs*: whether callers may list their jobs. *guests*: whether visitors get guest sessions.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        cookie: str | None,
        listings: Sequence[Listing],
        policy: Policy,
        accounting: Accounting,
        jobs: bool,
        guests: bool = False,
    ) -> None:
        self._authenticator = authenticator
        self._cookie = cookie
        self._jobs = jobs
        self._guests = guests
        self._listings = listings
        self._policy = policy
        self._accounting = accounting

    async def authenticate(self, request: Request) -> Caller:
        """Returns the caller of a page. Raises as `Authenticator.authenticate`."""
        return await self._authenticator.authenticate(request.method, request.headers, request.address)

    async def openapi(self, request: Request) -> Json:
        """Returns the OpenAPI document, with the URL of the prefix as its server. Raises as `authenticate`."""
        await self.authenticate(request)
        url = request.public_url
        return openapi_document(
            self._listings,
            self._policy,
            public_url=url,
            cookie=self._cookie,
            jobs=self._jobs,
            guests=self._guests,
        )

    async def usage(self, request: Request, record: AccessRecord) -> Json:
        """Returns what the caller has left, over all listed endpoints; *record* learns the caller.

        Raises as `authenticate`, and StoreAway.
        """
        caller = await self.authenticate(request)
        record.caller = caller.key
        endpoints = tuple(listing.endpoint for listing in self._listings)
        return format_usage(await self._accounting.allowances(caller, endpoints))
