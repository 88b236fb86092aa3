"""What every table of the configuration file is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file. An unknown key is an error: a misspelt limit must not be a missing one."""

    model_config = ConfigDict(extra="forbid", frozen=True)
