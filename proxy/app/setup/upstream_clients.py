"""The clients of fal's hosts: a pool of its own for each, and one more where answers stay open."""

from __future__ import annotations

from proxy.app.setup.components import Parts
from proxy.fal_api.operations import Surface
from proxy.gateway.stream_slots import Bounds
from proxy.http.client.client import Upstream
from proxy.http.origin import Origin
from proxy.upstream import relay


def upstreams_of(parts: Parts) -> dict[Surface, relay.Upstream]:
    """A client with a pool of its own for each of fal's hosts."""
    fal = parts.config.fal
    origins = {Surface.QUEUE: fal.queue_origin, Surface.RUN: fal.run_origin, Surface.STORAGE: fal.rest_origin}
    return {surface: _upstream(Origin.parse(origin), parts, fal.max_connections) for surface, origin in origins.items()}


def stream_upstreams_of(parts: Parts) -> dict[Surface, relay.Upstream]:
    """As `upstreams_of`, for what stays open: however many streams there are, a submit finds a connection."""
    fal, size = parts.config.fal, parts.config.streams.per_worker
    origins = {Surface.QUEUE: fal.queue_origin, Surface.RUN: fal.run_origin}
    return {surface: _upstream(Origin.parse(origin), parts, size) for surface, origin in origins.items()}


def bounds_of(parts: Parts) -> Bounds:
    section = parts.config.streams
    return Bounds(
        per_user=section.per_user,
        per_worker=section.per_worker,
        age=section.max_seconds,
        heartbeat=section.heartbeat_seconds,
        idle=section.idle_seconds,
    )


def _upstream(origin: Origin, parts: Parts, size: int) -> Upstream:
    return Upstream(
        origin,
        tls=parts.tls if origin.scheme == "https" else None,
        max_connections=size,
        connect_timeout=parts.config.fal.connect_seconds,
    )
