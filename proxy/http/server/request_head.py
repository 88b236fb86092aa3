"""Head of a request as the connection has parsed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class RequestHead:
    """A request head within the limits: *url* and *fields* as sent, but with field names in lower case."""

    method: Final[str]
    url: Final[bytes]
    version: Final[str]  # "1.0" or "1.1"
    fields: Final[list[tuple[bytes, bytes]]]
    keep_alive: Final[bool]

    @property
    def expects(self) -> bool:
        """True where the client waits for a 100 (Continue)."""
        return dict(self.fields).get(b"expect", b"").lower() == b"100-continue"
