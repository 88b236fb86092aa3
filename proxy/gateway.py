"""The request's straight line. Each step returns the evidence that the next one takes, so none can be left out."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Receive

from proxy import headers
from proxy.answers import Answer, JobAnswers
from proxy.bodies import BodyBudget, json_content_type, read_body
from proxy.errors import OutcomeUnknown, Refusal, Unauthenticated, UpstreamFailed
from proxy.identity import Authenticator, Caller
from proxy.limits import FailedLogins, RateLimiter
from proxy.outcomes import Outcome, Relayed, outcome_of
from proxy.ownership import Grant, Ownership
from proxy.policy import Payload, Policy
from proxy.presence import Presence
from proxy.relay import Relay
from proxy.targets import Action, resolve
from proxy.telemetry import AccessRecord


@dataclass(frozen=True, slots=True)
class Request:
    """One request below the prefix: *route* is the raw path after it, *address* the client's, proxies accounted for."""

    method: str
    route: bytes
    query: bytes
    headers: headers.Fields
    address: str
    receive: Receive


class Gateway:
    def __init__(
        self,
        *,
        authenticator: Authenticator,
        failed_logins: FailedLogins,
        ownership: Ownership,
        policy: Policy,
        limiter: RateLimiter,
        relay: Relay,
        answers: JobAnswers,
        max_body: int,
        body_budget: BodyBudget,
    ) -> None:
        self._authenticator = authenticator
        self._failed_logins = failed_logins
        self._ownership = ownership
        self._policy = policy
        self._limiter = limiter
        self._relay = relay
        self._answers = answers
        self._max_body = max_body
        self._body_budget = body_budget

    async def handle(self, request: Request, record: AccessRecord) -> Answer:
        """Raises a Refusal wherever the line ends early, and ClientGone. *record* takes down what was learned."""
        target = resolve(
            request.method, request.route, request.query, headers.first(request.headers, b"x-fal-target-url")
        )
        record.action = target.action
        caller = self._identify(request)
        record.caller = caller.key
        grant = self._ownership.authorize(caller, target)
        record.endpoint = target.endpoint
        if target.action is Action.SUBMIT:
            return await self._submit(request, grant, record)
        return await self._read(request, grant, record)

    def _identify(self, request: Request) -> Caller:
        self._failed_logins.check(request.address)
        try:
            return self._authenticator.identify(request.headers)
        except Unauthenticated:
            self._failed_logins.record(request.address)
            raise

    async def _submit(self, request: Request, grant: Grant, record: AccessRecord) -> Answer:
        """From here on the caller's leaving changes nothing: a submit is finished, its outcome known."""
        chosen = headers.options(grant.target.action, request.headers)
        json_content_type(request.headers)
        with self._body_budget.hold() as hold:
            body = await read_body(request.receive, request.headers, limit=self._max_body, hold=hold)
            payload = self._policy.admit(grant, body)
            quota = await self._limiter.spend(grant.target.action, user=grant.caller.key, address=request.address)
            relayed = await self._relayed(grant, payload, chosen, record)
        return self._submitted(grant, relayed, quota.headers)

    async def _relayed(self, grant: Grant, payload: Payload, chosen: headers.Fields, record: AccessRecord) -> Relayed:
        with record.upstream_clock():
            try:
                relayed = await self._relay.submit(grant, payload, chosen)
            except Refusal as refusal:
                record.outcome = outcome_of(refusal)
                raise
        record.outcome = relayed.outcome
        return relayed

    async def _read(self, request: Request, grant: Grant, record: AccessRecord) -> Answer:
        quota = await self._limiter.spend(grant.target.action, user=grant.caller.key, address=request.address)
        with record.upstream_clock():
            async with Presence(request.receive):
                relayed = await self._relay.read(grant)
        return self._followed(grant, relayed, quota.headers)

    def _submitted(self, grant: Grant, relayed: Relayed, quota: headers.Fields) -> Answer:
        fields = (*relayed.headers, *quota)
        if relayed.outcome is not Outcome.ACCEPTED:
            return Answer(relayed.status, relayed.body, fields)
        try:
            return self._answers.submitted(
                relayed.body,
                app=grant.target.app,
                seal=lambda upstream_id: self._ownership.seal(grant, upstream_id),
                headers=fields,
            )
        except (UpstreamFailed, ValueError) as error:
            raise OutcomeUnknown(reason=f"fal took the submit but named no usable job: {error}") from error

    def _followed(self, grant: Grant, relayed: Relayed, quota: headers.Fields) -> Answer:
        fields = (*relayed.headers, *quota)
        handle = grant.target.handle or ""
        if grant.target.action is Action.RESULT:
            return self._answers.result(relayed.status, relayed.body, handle=handle, headers=fields)
        return self._answers.followed(relayed.status, relayed.body, app=grant.target.app, handle=handle, headers=fields)
