"""Records of Python's `logging` in the journal: those of asyncio, uvicorn and other libraries."""

from __future__ import annotations

import logging
import os
import threading
import traceback

from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.levels import Level


class JournalHandler(logging.Handler):
    """Handler that writes warnings and errors to *journal*, each as one line."""

    def __init__(self, journal: JsonLogWriter) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        event = {"event": "log", "logger": record.name, "message": _message(record)}
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        if threading.get_ident() == self._thread:
            self._journal.write(event, level)
        else:
            self._journal.write_through(event, level)


def install(journal: JsonLogWriter) -> None:
    """Sends the records of all loggers of this process to *journal*, and nowhere else."""
    logging.getLogger().handlers[:] = [JournalHandler(journal)]


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage().splitlines() or [""]
    if record.exc_info is None or record.exc_info[1] is None:
        return text[0]
    error = record.exc_info[1]
    frames = reversed(traceback.extract_tb(error.__traceback__))
    places = " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)
    return f"{text[0][:80]}: {type(error).__name__}: {error} ({places})"
