"""The [schemas] table: the operator's folder of model schemas."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from proxy.config.value_types import Section


class SchemasSection(Section):
    """Schemas of models beside those that are shipped.

    `fal-proxy schema import` and `schema pull` write them.
    """

    dir: Path | None = Field(
        default=None,
        description="Folder of schema files, `<endpoint id>.json` each with `__` for the slashes of the id.",
    )
