"""The request's straight line. Each step returns the evidence that the next one takes, so none can be left out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import replace
from typing import NamedTuple

from proxy.auth.authenticator import Authenticator
from proxy.auth.authorization import Authorization, Grant
from proxy.billing.reservations import Accounting, Reservation, would_deny
from proxy.errors import OutcomeUnknown, Refusal, UpstreamFailed
from proxy.fal_api import headers
from proxy.fal_api.operations import Action, Surface, resolve
from proxy.gateway.idempotency import IdempotencyKeys
from proxy.gateway.issue import IssueCall
from proxy.gateway.job_responses import JobResponses, parse_job_id
from proxy.gateway.run import RunCall, reject_idempotency_key
from proxy.gateway.status_stream import StatusStream
from proxy.gateway.stream_slots import StreamRegistry, StreamSlot
from proxy.gateway.streaming_response import StreamingResponse
from proxy.http.fields import Fields
from proxy.http.request import Request
from proxy.http.request_body import BodyBudget, announces_body, json_content_type, read_body
from proxy.http.response import Response
from proxy.payload.body import Payload
from proxy.payload.policy import Policy
from proxy.payload.realtime_tokens import RealtimeTokens
from proxy.payload.uploads import Uploads
from proxy.telemetry.access_record import AccessRecord
from proxy.upstream.job_end import job_end_from_status
from proxy.upstream.outcomes import Outcome, UpstreamResult, refusal_outcome
from proxy.upstream.relay import Relay
from proxy.webhooks.callback_url import CallbackUrls

_SMALL_BODY = 16 * 1024  # bytes: two names, or a list of apps
_UNNEEDED_BODY = 1024  # bytes: clients send as much as `{}` with a status or a cancel


class Job(NamedTuple):
    """A job just accepted: *upstream_id* is fal's for it, *name* for the ledger, *handle* for its caller."""

    upstream_id: str
    name: str
    handle: str


class Gateway:
    def __init__(
        self,
        *,
        authenticator: Authenticator,
        ownership: Authorization,
        policy: Policy,
        issues: Mapping[Action, Uploads | RealtimeTokens],
        replays: IdempotencyKeys,
        spending: Accounting,
        relay: Relay,
        answers: JobResponses,
        streams: StreamRegistry,
        max_body: int,
        body_budget: BodyBudget,
        webhook_hosts: frozenset[str] = frozenset(),
        callback_urls: CallbackUrls | None = None,
    ) -> None:
        """Callers may name a webhook on *webhook_hosts*; with *callback_urls* fal is given one of ours."""
        self._authenticator = authenticator
        self._ownership = ownership
        self._policy = policy
        self._issues = issues
        self._replays = replays
        self._spending = spending
        self._relay = relay
        self._answers = answers
        self._streams = streams
        self._watch = StatusStream(relay, answers, spending)
        self._runs = RunCall(relay, answers, spending)
        self._issuing = IssueCall(relay, spending)
        self._max_body = max_body
        self._body_budget = body_budget
        self._webhook_hosts = webhook_hosts
        self._callback_urls = callback_urls

    async def handle(self, request: Request, record: AccessRecord) -> Response | StreamingResponse:
        """Raises a Refusal wherever the line ends early, and ClientGone. *record* takes down what was learned."""
        caller = await self._authenticator.authenticate(request.method, request.headers, request.address)
        record.caller = caller.key
        target = resolve(
            request.method,
            request.route,
            request.query,
            request.named.get(b"x-fal-target-url"),
            webhook_hosts=self._webhook_hosts,
        )
        record.action = target.action
        grant = self._ownership.authorize(caller, target)
        record.endpoint = target.endpoint
        if target.action is Action.SUBMIT:
            return await self._submit(request, grant, record)
        if target.action in (Action.RUN, Action.RUN_STREAM):
            return await self._run(request, grant, record)
        if target.action is Action.STATUS_STREAM:
            return await self._follow(request, grant, record)
        if target.surface is Surface.STORAGE:
            return await self._issue(request, grant, record)
        return await self._read(request, grant, record)

    async def _submit(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        """From here on the caller's leaving changes nothing: a submit is finished, its outcome known."""
        chosen = headers.options(grant.target.action, request.headers)
        json_content_type(request.named)
        with self._body_budget.hold() as hold:
            body = await read_body(request.receive, request.named, limit=self._max_body, hold=hold)
            payload = self._policy.admit(grant, body)
            attempt = await self._replays.claim(request.named.get(b"idempotency-key"), grant, payload)
            if attempt.answer is not None:
                # A replay costs no allowance, but it is a request like any other: keys must not open the windows.
                quota = await self._spending.count_request(grant, request.address)
                return attempt.answer._replace(headers=(*attempt.answer.headers, *quota.headers))
            async with attempt:
                ticket = await self._spending.reserve(record.request_id, grant, payload, request.address)
                record.would_deny = ", ".join(ticket.observed) or None
                answer = await self._send(grant, payload, chosen, ticket, record)
                attempt.keep(answer)
        return answer

    async def _send(
        self, grant: Grant, payload: Payload, chosen: Fields, ticket: Reservation, record: AccessRecord
    ) -> Response:
        """Relay and settle. Whatever else than a refusal ends this leaves the reservation to be swept as spent."""
        callback = "" if self._callback_urls is None else self._callback_urls.query(ticket.id, grant)
        try:
            with record.upstream_clock():
                relayed = await self._relay.submit(grant, payload, chosen, callback)
            job = None if relayed.outcome is not Outcome.ACCEPTED else self._job(grant, relayed)
        except Refusal as refusal:
            record.outcome = refusal_outcome(refusal)
            await self._spending.settle_submit(ticket, refusal_outcome(refusal))
            raise
        record.outcome = relayed.outcome
        await self._spending.settle_submit(ticket, relayed.outcome, None if job is None else job.name)
        if self._callback_urls is not None and job is not None:
            await self._callback_urls.bind(ticket.id, job.upstream_id)
        fields = (*relayed.headers, *ticket.fields)
        if job is None:
            return Response(relayed.status, relayed.body, fields)
        return self._answers.submitted(relayed.body, app=grant.target.app, handle=job.handle, headers=fields)

    def _job(self, grant: Grant, relayed: UpstreamResult) -> Job:
        try:
            upstream_id = parse_job_id(relayed.body)
            return Job(
                upstream_id, f"{grant.target.app}/{upstream_id}", self._ownership.sign_handle(grant, upstream_id)
            )
        except (UpstreamFailed, ValueError) as error:
            raise OutcomeUnknown(reason=f"fal took the submit but named no usable job: {error}") from error

    async def _run(self, request: Request, grant: Grant, record: AccessRecord) -> Response | StreamingResponse:
        """As a submit, with the answer itself at the end in place of a job, and no key to ask for it again."""
        chosen = headers.options(grant.target.action, request.headers)
        json_content_type(request.named)
        reject_idempotency_key(request.headers)
        with self._body_budget.hold() as hold:
            body = await read_body(request.receive, request.named, limit=self._max_body, hold=hold)
            payload = self._policy.admit(grant, body)
            async with AsyncExitStack() as held:
                streamed = grant.target.action is Action.RUN_STREAM
                place = held.enter_context(self._place(grant, paid=True)) if streamed else None
                ticket = await self._spending.reserve(record.request_id, grant, payload, request.address)
                record.would_deny = ", ".join(ticket.observed) or None
                if place is None:
                    return await self._runs.run(grant, payload, chosen, ticket, record)
                return await self._runs.stream(grant, payload, chosen, ticket, place, held, record)

    async def _follow(self, request: Request, grant: Grant, record: AccessRecord) -> Response | StreamingResponse:
        await self._nothing(request)
        async with AsyncExitStack() as held:
            place = held.enter_context(self._place(grant, paid=False))
            quota = await self._spending.count_request(grant, request.address)
            record.would_deny = ", ".join(quota.observed) or None
            said = await self._watch.open(request, grant, place, held, record)
            fields = (*said.headers, *quota.headers, *would_deny(quota.observed))
            return (
                self._followed(grant, said, fields)
                if isinstance(said, UpstreamResult)
                else replace(said, headers=fields)
            )

    def _place(self, grant: Grant, *, paid: bool) -> AbstractContextManager[StreamSlot]:
        caller = grant.caller
        return self._streams.acquire(caller.key, expires=self._authenticator.session_expiry(caller), paid=paid)

    async def _issue(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        issue = self._issues[grant.target.action]
        chosen = issue.forwarded_headers(request.headers)
        json_content_type(request.named)
        with self._body_budget.hold() as hold:
            body = await read_body(request.receive, request.named, limit=_SMALL_BODY, hold=hold)
            payload = issue.admit(grant, body)
        ticket = await self._spending.reserve(record.request_id, grant, payload, request.address)
        record.would_deny = ", ".join(ticket.observed) or None
        return await self._issuing.issue(grant, payload, chosen, ticket, record, issue.checked_response)

    async def _nothing(self, request: Request) -> None:
        # Nobody needs the body, but only its end shows that the request was whole: half a one must not cancel a job.
        if not announces_body(request.named):
            return
        with self._body_budget.hold() as hold:
            await read_body(request.receive, request.named, limit=_UNNEEDED_BODY, hold=hold)

    async def _read(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        await self._nothing(request)
        quota = await self._spending.count_request(grant, request.address)
        record.would_deny = ", ".join(quota.observed) or None
        with record.upstream_clock():
            async with request.cancel_on_disconnect():
                relayed = await self._relay.read(grant)
        # Before anything is settled by it: what cannot be presented says nothing about the job's end either.
        answer = self._followed(grant, relayed, (*relayed.headers, *quota.headers, *would_deny(quota.observed)))
        ending = job_end_from_status(grant.target.action, relayed)
        if ending is not None:
            await self._spending.settle_job(f"{grant.target.app}/{grant.upstream_id}", ending)
        return answer

    def _followed(self, grant: Grant, relayed: UpstreamResult, fields: Fields) -> Response:
        handle = grant.target.handle or ""
        if grant.target.action is Action.RESULT:
            return self._answers.result(relayed.status, relayed.body, handle=handle, headers=fields)
        return self._answers.followed(relayed.status, relayed.body, app=grant.target.app, handle=handle, headers=fields)
