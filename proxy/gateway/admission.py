"""Admission of request bodies: options, content type and payload, within the worker's body budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from proxy.auth.authorization import Grant
from proxy.billing.reservations import Accounting
from proxy.errors import Refusal
from proxy.fal_api import headers
from proxy.http.fields import Fields
from proxy.http.request import Request
from proxy.http.request_body import BodyBudget, Hold, announces_body, json_content_type, read_body
from proxy.payload.body import MOST_ELEMENTS, Payload, parse_payload
from proxy.payload.body_thread import LARGE, BodyThread, Steps
from proxy.payload.policy import Policy
from proxy.ratelimit.rate_limiter import Quota
from proxy.telemetry.access_record import AccessRecord

_UNUSED_BODY = 1024  # bytes: clients send as much as `{}` with a status or a cancel


@dataclass(slots=True)
class Admitted:
    """Payload that may be sent to fal, and the caller's *options* for fal.

    *quota* is what the short windows leave, in which the request was counted before its body was read.
    """

    payload: Final[Payload]
    options: Final[Fields]
    quota: Final[Quota]


class Admission:
    """Reader of request bodies. *max_body* in bytes, for one request. *thread* checks the large ones."""

    def __init__(
        self,
        policy: Policy,
        body_budget: BodyBudget,
        accounting: Accounting,
        *,
        max_body: int,
        thread: BodyThread,
    ) -> None:
        self._policy = policy
        self._accounting = accounting
        self._max_body = max_body
        self._thread = thread
        # Returns the block that holds a request's body in the budget; it encloses all use of the body.
        self.hold = partial(Hold, body_budget)

    async def admit(self, request: Request, grant: Grant, hold: Hold, record: AccessRecord) -> Admitted:
        """Counts the request, then reads and checks the body of a submit or run.

        A payload that is refused counts in the windows of refused payloads instead. Raises RateLimited, StoreAway and
        the refusals of `request_body` and `policy`.
        """
        trace = record.trace
        if trace is not None:
            trace.enter("reserve", "the request is counted before its body is read")
        quota = await self._accounting.count_payload(grant, request.address)
        if trace is not None:
            trace.enter("admit")
        try:
            options = self._policy.job_options(grant, headers.options(grant.target.action, request.headers))
            json_content_type(request.fields_by_name)
            body = await read_body(request.receive, request.fields_by_name, limit=self._max_body, hold=hold)
            if len(body) < LARGE:
                payload = self._policy.admit(grant, body)
            else:
                payload = await self._thread.run(self._steps(grant, body))
        except Refusal as refusal:
            await self._accounting.count_refused(grant, request.address, refusal)
            raise
        if trace is not None and isinstance(received := parse_payload(body, max_elements=MOST_ELEMENTS), dict):
            trace.record_payload(received, payload.value)
        return Admitted(payload, options, quota)

    def _steps(self, grant: Grant, body: bytes) -> Steps[Payload]:
        """Makes the payload of a large body, with its digest."""
        payload = yield from self._policy.steps(grant, body)
        yield
        payload.digest()
        return payload

    async def read_small(self, request: Request, *, limit: int) -> bytes:
        """Returns a JSON body of at most *limit* bytes, which is too small to count after it was read."""
        json_content_type(request.fields_by_name)
        with self.hold() as hold:
            return await read_body(request.receive, request.fields_by_name, limit=limit, hold=hold)

    async def discard(self, request: Request) -> None:
        """Reads a body that is not used.

        Only its end shows that the request is whole: half a request must not cancel a job.
        """
        if not announces_body(request.fields_by_name):
            return
        with self.hold() as hold:
            await read_body(request.receive, request.fields_by_name, limit=_UNUSED_BODY, hold=hold)
