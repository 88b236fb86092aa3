"""Clients of fal's hosts: one pool for each host, and further ones for streams."""

from __future__ import annotations

from proxy.app.setup.components import Components
from proxy.fal_api.operations import Surface
from proxy.gateway.stream_slots import StreamLimits
from proxy.http.client.client import HttpClient
from proxy.http.origin import Origin
from proxy.upstream import relay


def build_clients(parts: Components) -> dict[Surface, relay.UpstreamClient]:
    """Builds a client with a pool of its own for each of fal's hosts."""
    fal = parts.config.fal
    origins = {Surface.QUEUE: fal.queue_origin, Surface.RUN: fal.run_origin, Surface.STORAGE: fal.rest_origin}
    return {surface: _upstream(Origin.parse(origin), parts, fal.max_connections) for surface, origin in origins.items()}


def build_stream_clients(parts: Components) -> dict[Surface, relay.UpstreamClient]:
    """Builds clients for streams, with pools of their own so that streams take no connection of a submit."""
    fal, size = parts.config.fal, parts.config.streams.per_worker
    origins = {Surface.QUEUE: fal.queue_origin, Surface.RUN: fal.run_origin}
    return {surface: _upstream(Origin.parse(origin), parts, size) for surface, origin in origins.items()}


def build_stream_limits(parts: Components) -> StreamLimits:
    """Builds the limits of the table [streams]."""
    section = parts.config.streams
    return StreamLimits(
        per_user=section.per_user,
        per_worker=section.per_worker,
        age=section.max_seconds,
        heartbeat=section.heartbeat_seconds,
        idle=section.idle_seconds,
    )


def _upstream(origin: Origin, parts: Components, size: int) -> HttpClient:
    return HttpClient(
        origin,
        tls=parts.tls if origin.scheme == "https" else None,
        max_connections=size,
        connect_timeout=parts.config.fal.connect_seconds,
    )
