"""URLs that fal calls at the end of a job, one for each submit."""

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

    def __init__(self, cipher: CallbackCipher, deliveries: DeliveryState, *, clock: Callable[[], float]) -> None:
        self._cipher = cipher
        self._deliveries = deliveries
        self._clock = clock

    def query(self, public_url: str, reservation_id: str, grant: Grant) -> str:
        """Returns the query parameter of a submit. *public_url* is the URL of the gateway's prefix."""
        caller = grant.caller
        issued = int(self._clock())
        endpoint, alias = grant.target.endpoint, grant.key_alias
        context = CallbackContext(caller.issuer, caller.subject, endpoint, reservation_id, issued, alias)
        url = f"{public_url}{ROUTE.decode('ascii')}{self._cipher.encrypt(context)}"
        return f"fal_webhook={quote(url, safe='')}"

    async def bind(self, reservation_id: str, upstream_id: str) -> bool:
        """Binds the URL of a submit to its job. Returns False where that could not be written."""
        try:
            return await self._deliveries.bind(reservation_id, upstream_id)
        except StoreAway:
            return False
