"""Receiver of fal's webhooks about ended jobs: verifies one, settles the job and notifies the app.

fal gets a 2xx once the app has the notification, and a 503 until then. Its own retries are the queue, so that nothing
is lost with a process of ours.
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
from proxy.upstream.secret_filter import SecretSearch
from proxy.webhooks.callback_seal import CallbackCipher, CallbackContext
from proxy.webhooks.callback_url import ROUTE
from proxy.webhooks.delivery_state import DeliveryLock, DeliveryState
from proxy.webhooks.fal_signature import WebhookHeaders, parse_webhook_headers
from proxy.webhooks.sender import DeliveryResult, WebhookSender

ACTION = "webhook"
MAX_NODES = 300_000  # values of one message; a word-by-word transcript has many
_ACKNOWLEDGED = Response(200, b'{"status":"ok"}')
# Members of fal's message that the app gets as they are. The ids of the job and of attempts inside fal are left out.
_FORWARDED = ("status", "error", "payload", "payload_error")
_FAILED = {"OK": False, "ERROR": True}
# Refusals that count against an address, as failed logins do. A webhook of another account does not: fal sends it from
# the same addresses, and it is refused before it costs anything.
_COUNTED = frozenset({"refused-signature", "refused-replay"})


@dataclass(frozen=True, slots=True)
class VerificationSettings:
    """Rules by which a webhook of fal is accepted.

    *user_ids*: fal's ids of our accounts, empty if not known. A callback URL is valid for *keep* seconds after its
    submit. A webhook must not hold one of *secrets*.
    """

    keys: Jwks[VerificationKey]
    user_ids: frozenset[str]
    keep: float
    secrets: SecretSearch = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobCompleted:
    """Evidence that fal reported the end of the job of this *context*. *message* is the body."""

    context: CallbackContext
    signed: WebhookHeaders
    failed: bool
    message: dict[str, Json]

    @property
    def job(self) -> str:
        """Name of the job in the ledger."""
        return f"{self.context.app}/{self.signed.request_id}"


class WebhookReceiver:
    """Receiver of fal's webhooks. *failed* limits bad webhooks by address."""

    def __init__(
        self,
        *,
        cipher: CallbackCipher,
        verification: VerificationSettings,
        state: DeliveryState,
        accounting: Accounting,
        handles: JobHandles,
        sender: WebhookSender,
        failed: FailedLogins,
        max_body: int,
        body_budget: BodyBudget,
        clock: Callable[[], float],
    ) -> None:
        self._cipher = cipher
        self._verification = verification
        self._state = state
        self._accounting = accounting
        self._handles = handles
        self._sender = sender
        self._failed = failed
        self._max_body = max_body
        self._body_budget = body_budget
        self._clock = clock

    async def handle(self, request: Request, record: AccessRecord) -> Response:
        """Acknowledges one webhook. Raises Forbidden, always in the same words, for one that is not valid."""
        record.action = ACTION
        if request.method != "POST":
            raise MethodNotAllowed(["POST"])
        json_content_type(request.fields_by_name)
        with self._body_budget.hold() as hold:
            try:
                event = await self._verify(request, hold, record)
                end = JobEnd(failed=event.failed)
                call, alias = event.context.reservation_id, event.context.key_alias
                await self._accounting.settle_from_webhook(call, event.job, end, key_alias=alias)
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
        body = await read_body(request.receive, request.fields_by_name, limit=self._max_body, hold=hold)
        keys = self._verification.keys
        if not signed.verify(await keys.keys(), body) and not signed.verify(await keys.refresh(), body):
            raise _refusal(record, "signature", "no key of fal's fits the signature")
        event = self._read(context, signed, body, record)
        if not await self._state.bind(context.reservation_id, signed.request_id):
            raise _refusal(record, "job", "the callback URL is another job's")
        if not self._verification.user_ids:
            record.reason = f"fal's account is {signed.user_id}"  # for the operator to configure
        return event

    def _parse_headers(self, request: Request, record: AccessRecord) -> tuple[CallbackContext, WebhookHeaders]:
        """Checks all that is known before the body is read, the cheapest first. Raises Forbidden."""
        now = self._clock()
        try:
            signed = parse_webhook_headers(request.headers)
        except ValueError as error:
            raise _refusal(record, "headers", str(error)) from error
        if not signed.is_fresh(now):
            raise _refusal(record, "stale", "the timestamp is too far off")
        if self._verification.user_ids and signed.user_id not in self._verification.user_ids:
            raise _refusal(record, "account", "another account's job")
        try:
            context = self._cipher.decrypt(request.route.removeprefix(ROUTE))
        except ValueError as error:
            raise _refusal(record, "seal", str(error)) from error
        if now - context.issued > self._verification.keep:
            raise _refusal(record, "seal", "the callback URL is too old")
        return context, signed

    def _read(
        self, context: CallbackContext, signed: WebhookHeaders, body: bytes, record: AccessRecord
    ) -> JobCompleted:
        try:
            message = strict_json.parse(body, max_nodes=MAX_NODES)
        except MalformedJson as error:
            raise _refusal(record, "body", str(error)) from error
        if not isinstance(message, dict) or message.get("request_id") != signed.request_id:
            raise _refusal(record, "body", "the body is not of the job in the headers")
        failed = _FAILED.get(str(message.get("status")))
        if failed is None or body in self._verification.secrets:
            raise _refusal(record, "body", "the body has no status we know, or holds our key")
        return JobCompleted(context, signed, failed, message)

    async def _notify_app(self, event: JobCompleted, record: AccessRecord) -> str:
        """Notifies the app once for each job. Raises Unavailable where fal is to retry its webhook."""
        owner = uuid4().hex
        lock = await self._state.acquire(event.job, owner)
        if lock == event.signed.signature:
            # fal signs each attempt again, so an acknowledged webhook with the same signature is a replay.
            raise _refusal(record, "replay", "this webhook was acknowledged before")
        if lock is DeliveryLock.TAKEN:
            record.outcome = "in-progress"
            raise Unavailable(error_type="delivery_failed", reason="the app is being notified of it at the moment")
        if lock is not DeliveryLock.OURS:
            return "duplicate"
        try:
            result = await self._sender.deliver(_message_id(event), self._message(event))
        except Unavailable:
            record.outcome = "delivery-failed"
            await self._state.release(event.job, owner)
            raise
        await self._state.complete(event.job, owner, event.signed.signature)
        if result is DeliveryResult.GONE:
            record.reason = "the app answered 410"
        return result

    def _message(self, event: JobCompleted) -> bytes:
        context = event.context
        upstream_id = event.signed.request_id
        # The handle as the caller got it, also where another secret signs by now: apps compare the two.
        handle = self._handles.sign(
            upstream_id,
            owner=context.owner,
            app=context.app,
            key_alias=context.key_alias,
            secret_index=context.secret_index,
        )
        message: dict[str, Json] = {
            "request_id": handle,
            "upstream_request_id": upstream_id,
            "endpoint": context.endpoint,
            "issuer": context.issuer,
            "subject": context.subject,
        }
        return strict_json.dump(message | {name: event.message[name] for name in _FORWARDED if name in event.message})


def _message_id(event: JobCompleted) -> str:
    """Returns the id of the notification about this job, the same from every replica and at every retry."""
    return f"msg_{hashlib.sha256(f'{event.context.reservation_id} {event.job}'.encode()).hexdigest()[:32]}"


def _refusal(record: AccessRecord, why: str, reason: str) -> Forbidden:
    record.outcome = f"refused-{why}"
    return Forbidden("Callback refused", error_type="callback_refused", reason=reason)
