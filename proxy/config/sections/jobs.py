"""The [jobs] table: the list of a caller's own jobs."""

from __future__ import annotations

from pydantic import Field

from proxy.config.value_types import Section


class JobsSection(Section):
    """List of a caller's own jobs at `GET <prefix>/jobs`."""

    enabled: bool = Field(default=True, description="Whether callers may list their jobs.")
