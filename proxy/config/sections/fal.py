"""The [fal] and [streams] tables: connections to fal and streams that stay open."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from proxy.config.value_types import OriginText, Seconds, Section


class Fal(Section):
    """The upstream. FAL_KEY itself comes from the environment (FAL_KEY or FAL_KEY_FILE)."""

    queue_origin: OriginText = "https://queue.fal.run"
    run_origin: OriginText = "https://fal.run"
    rest_origin: OriginText = "https://rest.fal.ai"
    ca_file: Path | None = None
    max_connections: int = Field(default=100, ge=1, le=10_000)
    connect_seconds: Seconds = 5.0
    submit_seconds: Seconds = 30.0
    poll_seconds: Seconds = 15.0
    run_seconds: Seconds = 120.0


class StreamsSection(Section):
    """Answers that stay open. A stream ends after *max_seconds*, with its session, or after *idle_seconds* of fal's.

    Each takes two descriptors; *per_user* is counted in each worker, too. A caller hears a comment every
    *heartbeat_seconds* of silence.
    """

    per_user: int = Field(default=10, ge=1, le=10_000)
    per_worker: int = Field(default=500, ge=1, le=10_000)
    max_seconds: float = Field(default=3600.0, ge=1, le=86_400)
    heartbeat_seconds: float = Field(default=4.0, ge=0.1, le=5)
    idle_seconds: float = Field(default=90.0, ge=1, le=3600)
