"""Relay to fal with its clients, breakers and the state of our account, built for one process."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import uuid4

from proxy.app.setup.components import Components
from proxy.app.setup.upstream.clients import build_clients, build_stream_clients
from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.redis.ledger import RedisLedger
from proxy.billing.probe_lease import LedgerProbeLease
from proxy.fal_api.endpoint_ids import app_id
from proxy.fal_api.operations import Surface
from proxy.http.client.client import HttpClient
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry
from proxy.upstream.account.probe import AccountProbe
from proxy.upstream.account.shared_pauses import SharedPauses
from proxy.upstream.account.state import Account, Pause
from proxy.upstream.breakers.breaker_table import Breakers
from proxy.upstream.failover import FailoverClient, all_clients
from proxy.upstream.relay import Deadlines, Relay, UpstreamClient
from proxy.upstream.traced_client import CallTracer


@dataclass(frozen=True, slots=True)
class Upstream:
    """fal as one process reaches it."""

    relay: Relay
    breakers: Breakers
    account: Account
    probe: AccountProbe
    clients: tuple[UpstreamClient, ...]

    @property
    def state(self) -> str:
        """Text for the readiness detail."""
        account = self.account
        cause = account.key_cause
        if cause is not None:
            return f"fal refuses our account: {cause}"
        return "not answering" if self.breakers.any_open else "ok"

    @property
    def key_states(self) -> str:
        """Text about each key by its alias, for the readiness detail; empty for a single key."""
        keys, causes = self.account.keys, self.account.key_causes
        if len(keys) == 1:
            return ""
        return "; ".join(f"{key.label}: {causes.get(alias, 'ok')}" for alias, key in sorted(keys.items()))

    async def aclose(self) -> None:
        """Stops the probe and closes all connections to fal."""
        await self.probe.aclose()
        for client in self.clients:
            await client.aclose()


def build_upstream(
    components: Components,
    ledger: Ledger,
    telemetry: Telemetry,
    journal: JsonLogWriter,
    *,
    client: UpstreamClient | None = None,
    tracer: CallTracer | None = None,
) -> Upstream:
    """Builds the relay. *client* replaces the HTTP clients that *components* describe.

    *tracer* opens a span for each of their calls.
    """
    fal = components.config.fal
    clients = build_clients(components, tracer) if client is None else dict.fromkeys(Surface, client)
    streams = build_stream_clients(components, tracer) if client is None else clients
    breakers = _build_breakers(telemetry, journal)
    account = _build_account(components, telemetry, journal)
    relay = Relay(
        clients,
        breakers=breakers,
        account=account,
        deadlines=Deadlines(fal.submit_seconds, fal.poll_seconds, fal.run_seconds),
        clock=time.time,
        streams=streams,
        expose_units=components.config.ledger.expose_price,
    )
    probe = AccountProbe(
        account,
        lambda app, alias: relay.fetch(relay.status_request(app, str(uuid4()), alias)),
        LedgerProbeLease(ledger, clock=time.time),
        app=next((app_id(listing.endpoint) for listing in components.listings if "/" in listing.endpoint), ""),
        clock=time.time,
        interval=components.probe_interval,
    )
    if isinstance(ledger, RedisLedger):
        SharedPauses(ledger.workers, account, clock=time.monotonic)
    every = (*clients.values(), *(() if streams is clients else streams.values()))
    _pool_metrics(telemetry, every)
    return Upstream(relay, breakers, account, probe, every)


def _pool_metrics(telemetry: Telemetry, clients: Iterable[UpstreamClient]) -> None:
    fronts = [client for client in clients if isinstance(client, FailoverClient)]
    pools = [client for client in all_clients(clients) if isinstance(client, HttpClient)]
    telemetry.gauge("upstream_active", "Exchanges with fal under way.", lambda: sum(c.active for c in clients))
    telemetry.gauge("upstream_idle", "Connections to fal kept open.", lambda: sum(c.idle for c in clients))
    telemetry.gauge("upstream_slots", "Exchanges that the pools allow.", lambda: sum(c.slots for c in pools))
    telemetry.gauge("upstream_waiting", "Requests that wait for a connection.", lambda: sum(c.waiting for c in pools))
    telemetry.counter("upstream_waits", "Requests that had to wait for one.", lambda: sum(c.waits for c in pools))
    telemetry.counter("upstream_connects", "Connections to fal opened.", lambda: sum(c.connects for c in pools))
    telemetry.counter(
        "upstream_failovers", "Requests sent to fal.backup_queue_origin.", lambda: sum(c.failovers for c in fronts)
    )


def _build_breakers(telemetry: Telemetry, journal: JsonLogWriter) -> Breakers:
    changes = telemetry.events("upstream_breaker_changes", "Breakers to fal opened and closed.", "kind", "state")

    def report(kind: str, state: str, reason: str) -> None:
        changes.add(kind, state)
        journal.write({"event": "upstream_breaker", "kind": kind, "state": state, "reason": reason})

    breakers = Breakers(clock=time.monotonic, report=report)
    telemetry.gauge(
        "upstream_breaker_open", "1 while a breaker keeps calls from fal.", lambda: breakers.any_open, merge="max"
    )
    return breakers


def _build_account(components: Components, telemetry: Telemetry, journal: JsonLogWriter) -> Account:
    changes = telemetry.events(
        "upstream_account_changes", "Pauses because fal refuses one of our keys.", "alias", "cause", "state"
    )

    def report(state: str, pause: Pause, reason: str) -> None:
        alias = account.keys[pause.alias].label
        changes.add(alias, pause.cause, state)
        event = {"event": "upstream_account", "state": state, "cause": pause.cause, "scope": pause.scope or "key"}
        journal.write({**event, "alias": alias, "reason": reason})

    account = Account(components.fal_keys, report=report, probe_interval=components.probe_interval)
    telemetry.gauge(
        "upstream_paused", "1 while fal refuses every key.", lambda: account.key_cause is not None, merge="max"
    )
    telemetry.gauges(
        "upstream_key_paused",
        "1 while fal refuses the key of this alias.",
        ("alias",),
        lambda: [((key.label,), alias in account.key_causes) for alias, key in account.keys.items()],
        merge="max",
    )
    telemetry.counters(
        "upstream_key_calls",
        "New calls by the key of this alias: submits, runs, uploads and tokens.",
        ("alias",),
        lambda: [((key.label,), account.calls[alias]) for alias, key in account.keys.items()],
    )
    return account
