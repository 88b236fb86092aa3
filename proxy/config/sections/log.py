"""The [log] table: the journal on standard output."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from proxy.config.value_types import Section


class LogSection(Section):
    """Lines of the journal, which `serve` writes to standard output."""

    format: Literal["json", "text"] = Field(
        default="json",
        description='"json" writes one object a line. "text" is for a person at a terminal. '
        "`serve --log-format` wins over it.",
    )
    health_checks: bool = Field(
        default=False, description="Whether `/healthz` and `/readyz` get lines. One that fails always gets one."
    )
    successful_polls: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of successful status reads that get a line. The others are in the metrics alone.",
    )
    client_addresses: bool = Field(default=True, description="Whether lines have the address of the client.")
