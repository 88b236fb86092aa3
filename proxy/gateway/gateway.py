"""Gateway: authenticates a request, resolves its target, authorizes it and calls its operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from proxy.auth.authenticator import Authenticator
from proxy.auth.authorization import Authorization, Grant
from proxy.auth.user_names import UserNames
from proxy.fal_api.operations import ACTION_NAMES, NO_HOSTS, Action, resolve
from proxy.gateway.streams.streaming_response import StreamingResponse
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.telemetry.access_record import AccessRecord


class Operation(Protocol):
    """One operation: payload, reservation, result of fal, settlement, response."""

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response | StreamingResponse:
        """Raises a Refusal where the request ends early, and ClientGone."""
        ...


class Gateway:
    """Straight line of a request. *operations* by action; callers may name a webhook on *webhook_hosts*.

    *names* keeps issuer and subject of callers for the operator, None where no operator may see them.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        authorization: Authorization,
        operations: Mapping[Action, Operation],
        *,
        webhook_hosts: frozenset[str] = NO_HOSTS,
        names: UserNames | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._authorization = authorization
        self._operations = operations
        self._webhook_hosts = webhook_hosts
        self._names = names

    async def handle(self, request: Request, record: AccessRecord) -> Response | StreamingResponse:
        """Returns the response, and writes what was learned of the request into *record*.

        Raises a Refusal where the request ends early, and ClientGone. A request without a session learns nothing
        about targets, webhooks and endpoints.
        """
        if record.trace is not None:
            record.trace.enter("authenticate")
        caller = await self._authenticator.authenticate(request.method, request.headers, request.address)
        record.caller = caller.key
        if self._names is not None:
            self._names.record(caller)
        if record.trace is not None:
            record.trace.note(f"{caller.subject}, session of {caller.issuer}")
            record.trace.enter("resolve")
        target = resolve(
            request.method,
            request.route,
            request.query,
            request.fields_by_name.get(b"x-fal-target-url"),
            webhook_hosts=self._webhook_hosts,
        )
        record.action, record.asked = ACTION_NAMES[target.action], target.endpoint
        if record.trace is not None:
            record.trace.note(f"{target.action} of {target.endpoint}")
            record.trace.enter("authorize")
        grant = self._authorization.authorize(caller, target)
        record.endpoint = target.endpoint
        if grant.upstream_id is not None:
            record.job = f"{target.app}/{grant.upstream_id}"
        return await self._operations[target.action].handle(request, grant, record)
