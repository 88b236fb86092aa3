"""Journal lines about session keys, which may come before there is a journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

_MAX_WAITING = 100  # lines


class KeyReports:
    """Lines about key sets and key files. They wait until `connect` gives them a journal."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque(maxlen=_MAX_WAITING)
        self._write: Callable[[str], None] = self._waiting.append

    def connect(self, write: Callable[[str], None]) -> None:
        """Passes the waiting lines, and all later ones, to *write*."""
        self._write = write
        while self._waiting:
            write(self._waiting.popleft())

    def write(self, line: str) -> None:
        """Passes *line* on."""
        self._write(line)
