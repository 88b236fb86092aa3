"""Amounts of money in millionths of the operator's unit."""

from __future__ import annotations

import math

Micros = int  # an amount in millionths of the operator's unit: whole numbers add up without drift


MICRO = 1_000_000


MAX_PRICE = 1e9  # units; beyond it a price is a mistake, not a price


def micros(units: float) -> Micros:
    """Rounded up, but not for the noise of doubles: three times 0.1 is 0.3."""
    return math.ceil(round(units * MICRO, 3))


MAX_JOB_COST = int(MAX_PRICE) * MICRO  # the most that a job is charged, so that no sum overflows
