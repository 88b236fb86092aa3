"""Lateness of the event loop, measured by a timer."""

from __future__ import annotations

import asyncio

from proxy.telemetry.counters import Durations

NAME = "loop_delay_seconds"
BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)  # seconds
INTERVAL = 0.1  # seconds between two measurements


async def measure_loop_lag(lags: Durations) -> None:
    """Adds to *lags* by how much each timer is late, until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL
        await asyncio.sleep(INTERVAL)
        lags.observe((), max(0.0, loop.time() - due))
