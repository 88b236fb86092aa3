from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

from proxy.app.process import python_log
from proxy.telemetry.json_log import JsonLogWriter


def test_records_of_python_are_lines(tmp_path: Path) -> None:
    """Warnings and errors of any thread become one line each, exceptions with frames; information none."""
    root = logging.getLogger()
    before = root.handlers[:]
    with (tmp_path / "journal").open("wb") as file:
        journal = JsonLogWriter(os.dup(file.fileno()))
    try:
        python_log.install(journal)
        logging.getLogger("asyncio").info("not written")
        logging.getLogger("asyncio").warning("slow\nin two lines")
        other = threading.Thread(target=logging.getLogger("lib").error, args=("of another thread",))
        other.start()
        other.join()
        try:
            json.loads("x")
        except ValueError:
            logging.getLogger("asyncio").exception("Task exception was never retrieved")
        journal.close(timeout=10)
    finally:
        root.handlers[:] = before
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]

    assert {line["event"] for line in lines} == {"log"}
    assert sorted((line["level"], line["logger"], line["message"].split("(")[0]) for line in lines) == [
        ("error", "asyncio", "Task exception was never retrieved: JSONDecodeError: Expecting value: line 1 column 1 "),
        ("error", "lib", "of another thread"),
        ("warning", "asyncio", "slow"),
    ]
