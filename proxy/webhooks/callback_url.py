"""The address fal is to call when a job ends, one for each submit."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from proxy.auth.authorization import Grant
from proxy.errors import StoreAway
from proxy.webhooks.callback_seal import CallbackCipher, CallbackContext
from proxy.webhooks.delivery_state import DeliveryState

ROUTE = b"/webhooks/fal/"


class CallbackUrls:
    """URLs that fal calls with the end of a job."""

    def __init__(self, seals: CallbackCipher, claims: DeliveryState, *, clock: Callable[[], float]) -> None:
        self._seals = seals
        self._claims = claims
        self._clock = clock

    def query(self, public_url: str, ticket: str, grant: Grant) -> str:
        """Returns the parameter of a submit, ready to be sent. *public_url* is the URL of the gateway's prefix."""
        caller = grant.caller
        context = CallbackContext(caller.issuer, caller.subject, grant.target.endpoint, ticket, int(self._clock()))
        url = f"{public_url}{ROUTE.decode('ascii')}{self._seals.encrypt(context)}"
        return f"fal_webhook={quote(url, safe='')}"

    async def bind(self, ticket: str, upstream_id: str) -> bool:
        """From now on the URL of *ticket* is good for this job alone. False where it could not be written down."""
        try:
            return await self._claims.bind(ticket, upstream_id)
        except StoreAway:
            return False
