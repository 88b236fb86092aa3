"""fal tells us that a job has ended: believed, settled, and told to the app, in a line like the gateway's.

What fal is answered with decides who remembers: 2xx once the app has it, and until then 503, so that fal's own retries
are the queue and nothing is lost with us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from proxy import strict_json
from proxy.auth.job_handles import JobHandles
from proxy.auth.keys.jwks import Jwks
from proxy.auth.keys.verification_key import VerificationKey
from proxy.billing.reservations import Accounting
from proxy.errors import Forbidden, MalformedJson, MethodNotAllowed, Unavailable
from proxy.http.request import Request
from proxy.http.request_body import BodyBudget, Hold, json_content_type, read_body
from proxy.http.response import Response
from proxy.ratelimit.failed_logins import FailedLogins
from proxy.strict_json import Json
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.job_end import JobEnd
from proxy.webhooks.callback_seal import CallbackCipher, CallbackContext
from proxy.webhooks.callback_url import ROUTE
from proxy.webhooks.delivery_state import DeliveryLock, DeliveryState
from proxy.webhooks.fal_signature import WebhookHeaders, parse_webhook_headers
from proxy.webhooks.sender import DeliveryResult, WebhookSender

ACTION = "webhook"
MAX_NODES = 300_000  # values of one message; a word-by-word transcript has many
_ACKNOWLEDGED = Response(200, b'{"status":"ok"}')
# What of fal's message the app gets as it is; ids are ours to write, and of attempts inside fal nobody need know.
_FORWARDED = ("status", "error", "payload", "payload_error")
_FAILED = {"OK": False, "ERROR": True}
# By address, as failed logins. Never what fal itself may bring us on behalf of another account of its own, who would
# shut out all of fal that way; it is refused before it costs anything.
_COUNTED = frozenset({"refused-signature", "refused-replay"})


@dataclass(frozen=True, slots=True)
class VerificationSettings:
    """Whom callbacks are believed from. *user_id*: fal's id of our account, None where it is not known.

    *keep* seconds after its submit a callback URL is good no more; *canaries* may not be in what the app is told.
    """

    keys: Jwks[VerificationKey]
    user_id: str | None
    keep: float
    canaries: frozenset[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobCompleted:
    """The proof that fal said *told* of the job that this *context*'s submit became."""

    context: CallbackContext
    signed: WebhookHeaders
    failed: bool
    told: dict[str, Json]

    @property
    def job(self) -> str:
        """As the ledger knows it."""
        return f"{self.context.app}/{self.signed.request_id}"


class WebhookReceiver:
    def __init__(
        self,
        *,
        seals: CallbackCipher,
        trust: VerificationSettings,
        claims: DeliveryState,
        spending: Accounting,
        handles: JobHandles,
        deliveries: WebhookSender,
        failed: FailedLogins,
        max_body: int,
        body_budget: BodyBudget,
        clock: Callable[[], float],
    ) -> None:
        self._seals = seals
        self._trust = trust
        self._claims = claims
        self._spending = spending
        self._handles = handles
        self._deliveries = deliveries
        self._failed = failed
        self._max_body = max_body
        self._body_budget = body_budget
        self._clock = clock

    async def handle(self, request: Request, record: AccessRecord) -> Response:
        """Raises Forbidden, always in the same words, for what is not fal's or not of this job."""
        record.action = ACTION
        record.path = record.path.partition(ROUTE)[0] + ROUTE  # the rest opens something
        if request.method != "POST":
            raise MethodNotAllowed(["POST"])
        json_content_type(request.named)
        with self._body_budget.hold() as hold:
            try:
                event = await self._verify(request, hold, record)
                await self._spending.settle_from_webhook(event.context.ticket, event.job, JobEnd(failed=event.failed))
                record.outcome = await self._notify_app(event, record)
            except Forbidden:
                if record.outcome in _COUNTED:
                    self._failed.record(request.address)
                raise
        return _ACKNOWLEDGED

    async def _verify(self, request: Request, hold: Hold, record: AccessRecord) -> JobCompleted:
        context, signed = self._parse_headers(request, record)
        record.endpoint, record.caller = context.endpoint, context.owner
        self._failed.check(request.address)
        body = await read_body(request.receive, request.named, limit=self._max_body, hold=hold)
        keys = self._trust.keys
        if not signed.verify(await keys.keys(), body) and not signed.verify(await keys.refresh(), body):
            raise _refusal(record, "signature", "no key of fal's fits the signature")
        event = self._read(context, signed, body, record)
        if not await self._claims.bind(context.ticket, signed.request_id):
            raise _refusal(record, "job", "the callback URL is another job's")
        if self._trust.user_id is None:
            record.reason = f"fal's account is {signed.user_id}"  # for the operator to configure
        return event

    def _parse_headers(self, request: Request, record: AccessRecord) -> tuple[CallbackContext, WebhookHeaders]:
        """All that can be known before the body is read, the cheapest first."""
        now = self._clock()
        try:
            signed = parse_webhook_headers(request.headers)
        except ValueError as error:
            raise _refusal(record, "headers", str(error)) from error
        if not signed.is_fresh(now):
            raise _refusal(record, "stale", "the timestamp is too far off")
        if self._trust.user_id not in (None, signed.user_id):
            raise _refusal(record, "account", "another account's job")
        try:
            context = self._seals.decrypt(request.route.removeprefix(ROUTE))
        except ValueError as error:
            raise _refusal(record, "seal", str(error)) from error
        if now - context.issued > self._trust.keep:
            raise _refusal(record, "seal", "the callback URL is too old")
        return context, signed

    def _read(
        self, context: CallbackContext, signed: WebhookHeaders, body: bytes, record: AccessRecord
    ) -> JobCompleted:
        try:
            told = strict_json.parse(body, max_nodes=MAX_NODES)
        except MalformedJson as error:
            raise _refusal(record, "body", str(error)) from error
        if not isinstance(told, dict) or told.get("request_id") != signed.request_id:
            raise _refusal(record, "body", "the body is not of the job in the headers")
        failed = _FAILED.get(str(told.get("status")))
        if failed is None or any(canary in body for canary in self._trust.canaries):
            raise _refusal(record, "body", "the body has no status we know, or holds our key")
        return JobCompleted(context, signed, failed, told)

    async def _notify_app(self, event: JobCompleted, record: AccessRecord) -> str:
        """Tells the app, unless it knows. Raises Unavailable where that is to be tried again."""
        owner = uuid4().hex
        turn = await self._claims.acquire(event.job, owner)
        if turn == event.signed.signature:
            # fal signs each attempt anew; only somebody else repeats one to the byte after it was acknowledged.
            raise _refusal(record, "replay", "this very callback was acknowledged before")
        if turn is DeliveryLock.TAKEN:
            record.outcome = "in-progress"
            raise Unavailable(error_type="delivery_failed", reason="the app is being told of it just now")
        if turn is not DeliveryLock.OURS:
            return "duplicate"
        try:
            verdict = await self._deliveries.deliver(_message_id(event), self._message(event))
        except Unavailable:
            record.outcome = "delivery-failed"
            await self._claims.release(event.job, owner)
            raise
        await self._claims.complete(event.job, owner, event.signed.signature)
        if verdict is DeliveryResult.GONE:
            record.reason = "the app answered 410"
        return verdict

    def _message(self, event: JobCompleted) -> bytes:
        context = event.context
        upstream_id = event.signed.request_id
        handle = self._handles.sign(upstream_id, owner=context.owner, app=context.app)
        message: dict[str, Json] = {
            "request_id": handle,
            "upstream_request_id": upstream_id,
            "endpoint": context.endpoint,
            "issuer": context.issuer,
            "subject": context.subject,
        }
        return strict_json.dump(message | {name: event.told[name] for name in _FORWARDED if name in event.told})


def _message_id(event: JobCompleted) -> str:
    """The same each time the app is told of this job, by whichever replica: what it recognizes a repetition by."""
    return f"msg_{hashlib.sha256(f'{event.context.ticket} {event.job}'.encode()).hexdigest()[:32]}"


def _refusal(record: AccessRecord, why: str, reason: str) -> Forbidden:
    record.outcome = f"refused-{why}"
    return Forbidden("Callback refused", error_type="callback_refused", reason=reason)
