"""Gateway with its operations, built for one process."""

from __future__ import annotations

import time
from collections.abc import Callable

from proxy.app.setup.components import Components
from proxy.auth.authenticator import Authenticator
from proxy.auth.authorization import Authorization, Listing
from proxy.auth.user_names import UserNames
from proxy.billing.call_notes import CallNotes
from proxy.billing.reservations import Accounting
from proxy.config.sections.fal import Fal
from proxy.fal_api.operations import JOBS, Action
from proxy.gateway.admission import Admission
from proxy.gateway.gateway import Gateway
from proxy.gateway.issue import Issue
from proxy.gateway.jobs import Jobs
from proxy.gateway.quote import Quote
from proxy.gateway.read import Read
from proxy.gateway.repeats.repeats import Repeats
from proxy.gateway.runs.queued_run import QueuedRun
from proxy.gateway.runs.run import Run
from proxy.gateway.streams.status_stream import StatusStream
from proxy.gateway.streams.stream_slots import StreamRegistry
from proxy.gateway.submit import Submit
from proxy.http.request_body import BodyBudget
from proxy.payload.body_thread import BodyThread
from proxy.payload.policy import Policy
from proxy.upstream.relay import Relay
from proxy.webhooks.callback_url import CallbackUrls

CALL_MARGIN = 5.0  # seconds over the deadline of a call, for the ledger's own waits


def call_seconds(fal: Fal) -> dict[Action, float]:
    """Returns how long a call of each action may take. A stream is left out: its slot has the whole lease."""
    return {Action.SUBMIT: fal.submit_seconds + CALL_MARGIN, Action.RUN: fal.run_seconds + CALL_MARGIN}


def build_gateway(
    components: Components,
    *,
    authenticator: Authenticator,
    policy: Policy,
    body_budget: BodyBudget,
    body_thread: BodyThread,
    accounting: Accounting,
    relay: Relay,
    streams: StreamRegistry,
    callback_urls: CallbackUrls | None,
    settlement_lost: Callable[[], None],
    names: UserNames | None,
) -> Gateway:
    """Builds one object for each operation.

    *settlement_lost* is called where an outcome could not be written.
    """
    max_body = components.config.server.max_body_bytes
    admission = Admission(policy, body_budget, accounting, max_body=max_body, thread=body_thread)
    jobs_listing = (Listing(JOBS, frozenset({Action.JOBS})),) if components.config.jobs.enabled else ()
    authorization = Authorization((*components.listings, *jobs_listing), components.handles)
    settings = components.idempotency
    notes = CallNotes(clock=time.time, ttl=settings.ttl, rejoin=settings.rejoin, away=settlement_lost)
    repeats = Repeats(accounting, notes, authorization, settings)
    expiry = authenticator.session_expiry
    read = Read(admission, accounting, relay)
    seconds = components.config.fal.run_seconds
    queued_run = QueuedRun(admission, accounting, relay, authorization, repeats, seconds=seconds)
    queued_runs = {one.id: queued_run for one in components.config.endpoints if one.run_via == "queue"}
    run = Run(admission, accounting, relay, authorization, repeats, streams, expiry, queued_runs)
    issue = Issue(admission, accounting, relay, components.rest_actions.issues)
    return Gateway(
        authenticator,
        authorization,
        {
            Action.SUBMIT: Submit(admission, accounting, relay, authorization, repeats, callback_urls),
            Action.STATUS: read,
            Action.RESULT: read,
            Action.CANCEL: read,
            Action.STATUS_STREAM: StatusStream(admission, accounting, relay, streams, expiry),
            Action.RUN: run,
            Action.RUN_STREAM: run,
            Action.UPLOAD: issue,
            Action.TOKEN: issue,
            Action.JOBS: Jobs(admission, accounting, components.handles),
            Action.QUOTE: Quote(admission, accounting),
        },
        webhook_hosts=frozenset(components.config.webhooks.hosts),
        names=names,
    )
