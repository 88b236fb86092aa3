"""HTTP clients of fal's origins: a pool for each, and one more for answers that stay open."""

from __future__ import annotations

from functools import partial

from proxy.app.setup.components import Components
from proxy.fal_api.operations import Surface
from proxy.gateway.streams.stream_slots import StreamLimits
from proxy.http.client.client import HttpClient
from proxy.http.origin import Origin
from proxy.upstream import relay
from proxy.upstream.failover import FailoverClient
from proxy.upstream.traced_client import CallTracer, TracedClient

RESERVED_SHARE = 20  # one connection in so many to fal's queue is for cancels alone, at least one
MIN_RESERVING = 4  # connections of a pool that keeps a reserve


def build_clients(components: Components, tracer: CallTracer | None = None) -> dict[Surface, relay.UpstreamClient]:
    """Returns a client for each of fal's origins. Its pool keeps a reserve for cancels."""
    fal = components.config.fal
    origins = {Surface.QUEUE: fal.queue_origin, Surface.RUN: fal.run_origin, Surface.STORAGE: fal.rest_origin}
    size = fal.max_connections
    reserve = {Surface.QUEUE: max(1, size // RESERVED_SHARE) if size >= MIN_RESERVING else 0}
    clients: dict[Surface, relay.UpstreamClient] = {
        surface: _upstream(Origin.parse(origin), components, size, reserve.get(surface, 0), tracer)
        for surface, origin in origins.items()
    }
    return _with_backup(clients, components, size, reserve[Surface.QUEUE], tracer)


def build_stream_clients(
    components: Components, tracer: CallTracer | None = None
) -> dict[Surface, relay.UpstreamClient]:
    """Returns clients for answers that stay open, so that streams take no connection from submits."""
    fal, size = components.config.fal, components.config.streams.per_worker
    origins = {Surface.QUEUE: fal.queue_origin, Surface.RUN: fal.run_origin}
    clients: dict[Surface, relay.UpstreamClient] = {
        surface: _upstream(Origin.parse(origin), components, size, 0, tracer) for surface, origin in origins.items()
    }
    return _with_backup(clients, components, size, 0, tracer)


def build_stream_limits(components: Components) -> StreamLimits:
    """Builds the limits of the table [streams]."""
    section = components.config.streams
    return StreamLimits(
        per_user=section.per_user,
        per_worker=section.per_worker,
        age=section.max_seconds,
        heartbeat=section.heartbeat_seconds,
        idle=section.idle_seconds,
    )


def _with_backup(
    clients: dict[Surface, relay.UpstreamClient],
    components: Components,
    size: int,
    reserve: int,
    tracer: CallTracer | None,
) -> dict[Surface, relay.UpstreamClient]:
    backup = components.config.fal.backup_queue_origin
    if backup is None:
        return clients
    second = _upstream(Origin.parse(backup), components, size, reserve, tracer)
    return {**clients, Surface.QUEUE: FailoverClient(clients[Surface.QUEUE], second)}


def _upstream(origin: Origin, components: Components, size: int, reserve: int, tracer: CallTracer | None) -> HttpClient:
    make = HttpClient if tracer is None else partial(TracedClient, tracer=tracer)
    return make(
        origin,
        tls=components.tls if origin.scheme == "https" else None,
        max_connections=size,
        reserve=reserve,
        connect_timeout=components.config.fal.connect_seconds,
    )
