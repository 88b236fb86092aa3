"""Objects that stay over a reload of the configuration: ledger, windows, streams, counters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxy.app.runtime.free_memory import return_free_memory
from proxy.app.setup.billing.ledgers import ledger_metrics, store_metrics
from proxy.app.setup.components import Components
from proxy.app.setup.overload import build_overload, configure_overload, overload_metrics
from proxy.app.setup.sessions import build_revocation_store
from proxy.app.setup.tracing import build_telemetry, build_tracer
from proxy.app.setup.upstream.clients import build_stream_limits
from proxy.auth.revocation.revocation_watch import RevocationWatch
from proxy.auth.user_names import UserNames
from proxy.billing.ledger.interface import Ledger
from proxy.gateway.streams.stream_slots import StreamRegistry
from proxy.http.client_address import address_key
from proxy.http.fields import Fields
from proxy.http.request_body import BodyBudget
from proxy.http.server.limits import ConnectionLimits
from proxy.http.server.state import SharedState
from proxy.payload.body_thread import BodyThread
from proxy.ratelimit.failed_logins import LoginLimit
from proxy.ratelimit.redis_sliding_window import RedisWindowStore
from proxy.ratelimit.sliding_window import MemoryWindowStore, WindowStore
from proxy.storage.redis_client import RedisStore
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry
from proxy.telemetry.rejections import Rejections
from proxy.telemetry.request_line import Journaling

if TYPE_CHECKING:
    from proxy.telemetry.tracing.tracer import Tracer

FAILED_LOGINS = 30  # bad sessions from one address in FAILED_LOGINS_WINDOW seconds; further ones are refused
FAILED_LOGINS_WINDOW = 60


@dataclass
class ProcessState:
    """State of one process. *lost_settlements* counts outcomes that the ledger could not write.

    *tracer* is None where traces are off.
    """

    journal: JsonLogWriter
    telemetry: Telemetry
    ledger: Ledger
    store: RedisStore | None
    windows: WindowStore
    streams: StreamRegistry
    body_budget: BodyBudget
    body_thread: BodyThread
    connections: SharedState
    revocations: RevocationWatch
    login_limit: LoginLimit
    rejections: Rejections
    names: UserNames
    tracer: Tracer | None = None
    lost_settlements: int = 0

    def settlement_lost(self) -> None:
        self.lost_settlements += 1

    def adopt(self, components: Components) -> None:
        """Takes the limits and the secrets of a new configuration. The counts stay."""
        server, overload = components.config.server, components.config.overload
        self.body_budget.resize(overload.body_memory_bytes, overload.user_body_bytes)
        self.telemetry.explains = components.config.playground.explains
        self.telemetry.lines.journaling = journaling(components)
        self.rejections.with_address = self.telemetry.lines.journaling.addresses
        if not components.config.admin.show_users:
            self.names.clear()
        if self.connections.overload is not None:
            configure_overload(self.connections.overload, components)
        self.connections.limits = connection_limits(components)
        self.connections.trusted = server.trusted_proxies
        self.connections.headers = transport_security(server.hsts_seconds)
        self.journal.add_secrets(components.fal_secrets)


def build_process_state(
    components: Components, journal: JsonLogWriter, ledger: Ledger, *, on_shutdown: Callable[[], None]
) -> ProcessState:
    """Builds the state. *on_shutdown* is called when the server stops accepting."""
    config, tracer = components.config, build_tracer(components.config)
    telemetry, overload = build_telemetry(journal, journaling(components), traced=tracer is not None), config.overload
    telemetry.explains = config.playground.explains
    rejections = Rejections(journal.write)
    rejections.with_address = telemetry.lines.journaling.addresses
    windows: WindowStore = MemoryWindowStore(time.monotonic)
    if components.store is not None:
        windows = RedisWindowStore(components.store)
    streams = StreamRegistry(build_stream_limits(components), clock=time.time)
    state = ProcessState(
        journal=journal,
        telemetry=telemetry,
        ledger=ledger,
        store=components.store,
        windows=windows,
        streams=streams,
        body_budget=BodyBudget(overload.body_memory_bytes, overload.user_body_bytes, on_empty=return_free_memory),
        body_thread=BodyThread(),
        connections=_build_connections(components, telemetry, rejections, streams, on_shutdown),
        rejections=rejections,
        revocations=_build_revocations(components, journal, streams),
        login_limit=LoginLimit(
            FAILED_LOGINS,
            FAILED_LOGINS_WINDOW,
            time.monotonic,
            store=None if components.store is None else RedisWindowStore(components.store),
        ),
        names=UserNames(components.store_keys.key),
        tracer=tracer,
    )
    _register_metrics(state)
    return state


def _build_revocations(components: Components, journal: JsonLogWriter, streams: StreamRegistry) -> RevocationWatch:
    watch = RevocationWatch(
        build_revocation_store(components.config, components.store),
        report=lambda line: journal.write({"event": "revocations", "message": line}),
    )
    watch.on_change = lambda: streams.end_sessions(watch.is_revoked)
    return watch


def journaling(components: Components) -> Journaling:
    """Returns what the [log] of a configuration chooses."""
    log = components.config.log
    every = round(1 / log.successful_polls) if log.successful_polls else 0
    return Journaling(every, log.health_checks, log.client_addresses)


def _build_connections(
    components: Components,
    telemetry: Telemetry,
    rejections: Rejections,
    streams: StreamRegistry,
    on_shutdown: Callable[[], None],
) -> SharedState:
    server = components.config.server
    overload = build_overload(
        components,
        open_streams=lambda: len(streams),
        waiting=lambda: telemetry.waits.count,
        report=rejections.write,
    )
    overload_metrics(telemetry, overload)

    def add_rejections(error_type: str, peer: str, count: int) -> None:
        telemetry.count_early_rejections(error_type, count)
        rejections.add(error_type, address_key(peer), count)

    return SharedState(
        limits=connection_limits(components),
        trusted=server.trusted_proxies,
        on_rejected=add_rejections,
        on_shutdown=on_shutdown,
        headers=transport_security(server.hsts_seconds),
        overload=overload,
    )


def connection_limits(components: Components) -> ConnectionLimits:
    """Returns the limits of connections. Behind unknown front proxies there is none per address."""
    server, limits = components.config.server, ConnectionLimits()
    per_address = server.max_connections_per_address if server.trusted_hops is None else limits.connections
    return replace(limits, per_address=per_address)


def transport_security(seconds: int) -> Fields:
    """Returns the field of RFC 6797, without subdomains, which may be of another owner."""
    return [(b"strict-transport-security", b"max-age=%d" % seconds)] if seconds else []


def _register_metrics(state: ProcessState) -> None:
    telemetry, store = state.telemetry, state.store
    telemetry.gauge("requests_active", "Requests under way.", lambda: telemetry.active)
    telemetry.gauge("streams_open", "Answers that stay open.", lambda: len(state.streams))
    telemetry.counter("settlements_lost", "Outcomes the ledger could not take down.", lambda: state.lost_settlements)
    if store is not None:
        store_metrics(telemetry, store)
    ledger_metrics(telemetry, state.ledger)
