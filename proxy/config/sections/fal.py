"""The [fal] and [streams] tables: connections to fal and streams that stay open."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from proxy.config.value_types import DAY, HOUR, OriginText, Seconds, Section


class Fal(Section):
    """The upstream. Its keys come from the environment (`FAL_KEY` or `FAL_KEY_FILE`).

    Several keys come from `FAL_KEYS` or `FAL_KEYS_FILE`, one a line: `[alias=]id:secret[;weight]`. See docs/runbook.md.
    """

    queue_origin: OriginText = Field(
        default="https://queue.fal.run", description="Origin of fal's queue. Plain http is for a loopback host only."
    )
    backup_queue_origin: OriginText | None = Field(
        default=None,
        description="Second origin of the queue, used where no connection to the first can be made. "
        "fal's own is https://queue.falrun.com.",
    )
    run_origin: OriginText = Field(
        default="https://fal.run",
        description="Origin of fal's synchronous runs. Plain http is for a loopback host only.",
    )
    rest_origin: OriginText = Field(
        default="https://rest.fal.ai",
        description="Origin of fal's REST API (uploads, realtime tokens, keys of webhooks). "
        "Plain http is for a loopback host only.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of the certificate authorities to trust in place of the system's.",
    )
    max_connections: int = Field(
        default=100, ge=1, le=10_000, description="Most open connections of one worker to each of fal's origins."
    )
    connect_seconds: Seconds = Field(default=5.0, description="Time to connect to fal, TLS handshake included.")
    submit_seconds: Seconds = Field(
        default=30.0, description="Time for a submit. Past it the outcome is unknown and the caller gets 504."
    )
    poll_seconds: Seconds = Field(default=15.0, description="Time for a status, a result or a cancel.")
    run_seconds: Seconds = Field(
        default=120.0, description="Time for a synchronous run. Past it the outcome is unknown and the caller gets 504."
    )


class StreamsSection(Section):
    """Responses that stay open: status streams and streamed runs. Each takes two file descriptors."""

    per_user: int = Field(default=10, ge=1, le=10_000, description="Most open streams of one user in one worker.")
    per_worker: int = Field(default=500, ge=1, le=10_000, description="Most open streams in one worker.")
    max_seconds: float = Field(
        default=float(HOUR),
        ge=1,
        le=DAY,
        description="Longest life of a stream.",
    )
    outlive_session_seconds: float = Field(
        default=300.0,
        ge=0,
        le=DAY,
        description="Time for which an open stream may go on after the end of the session that opened it.",
    )
    heartbeat_seconds: float = Field(
        default=4.0,
        ge=0.1,
        le=5,
        description="Silence after which the caller gets a comment line, so that proxies keep the connection open.",
    )
    idle_seconds: float = Field(
        default=90.0, ge=1, le=HOUR, description="Silence of fal after which the gateway ends the stream."
    )
