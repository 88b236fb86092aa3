"""Settings of the sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proxy.sandbox.faults import Fault

IMAGE_TO_IMAGE = "fal-ai/hyper-sdxl/image-to-image"

_EPOCH = time.time() - time.monotonic()


def unix_clock() -> float:
    """Returns unix seconds that never step back."""
    return _EPOCH + time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """Settings of a local fal. Durations are seconds, sizes bytes, origins the addresses of its hosts.

    *keys*: the accepted `id:secret` strings. None accepts every non-empty `Key …`.
    *models*: the endpoint ids without a schema that answer with an echo. None accepts every well-formed id.
    *schemas*: folder of schema files that are added to the shipped ones, None without one.
    *clock*: unix seconds; states, logs, expiry and signatures read it.
    *webhook_seed*: the 32 bytes of the signing key. None makes a new key at each start.
    """

    queue_origin: str = "http://127.0.0.1:9000"
    run_origin: str = "http://127.0.0.1:9001"
    rest_origin: str = "http://127.0.0.1:9002"
    keys: frozenset[str] | None = None
    models: frozenset[str] | None = None
    schemas: Path | None = None
    clock: Callable[[], float] = unix_clock

    queue_seconds: float = 0.5
    run_seconds: float = 1.0
    # New fal accounts run two requests at once (fal docs, concurrency limits).
    concurrency: int = 2
    # fal docs, queue result: an hour after completion, six minutes from 10 KB on.
    retention: float = 3600.0
    large_retention: float = 360.0
    # fal docs: a comment line every 15 s keeps a status stream open.
    heartbeat: float = 15.0

    max_body: int = 100 * 2**20
    file_bytes: int = 512 * 2**20
    fetch_bytes: int = 20 * 2**20
    fetch_seconds: float = 5.0
    # fal-js#169: a presigned upload URL is valid for about two minutes.
    upload_seconds: float = 120.0

    # fal docs, webhooks: 15 s for an answer, ten deliveries over two hours. The waits are shorter for developers.
    webhook_seconds: float = 15.0
    webhook_seed: bytes | None = None
    webhook_attempts: int = 10
    webhook_backoff: float = 1.0
    webhook_backoff_max: float = 60.0

    faults: tuple[Fault, ...] = ()
    fault_seed: int = 0
    log_entries: int = 10_000
