from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Each worker imports this file again, so it imports little outside of the last block.
SCRIPT = """
import os, socket, sys
from contextlib import asynccontextmanager
from starlette.applications import Starlette

@asynccontextmanager
async def failing(app):
    raise OSError("the start fails")
    yield

def factory():
    open(sys.argv[2], "a").write("x")
    if sys.argv[1] == "import":
        raise RuntimeError("the application cannot be built")
    if sys.argv[1] == "crash":
        os._exit(7)
    return Starlette(lifespan=failing)

if __name__ == "__main__":
    import uvicorn
    from proxy.app.process import supervisor as module, worker_starts
    from proxy.errors import ConfigError
    from proxy.telemetry.json_log import JsonLogWriter

    config = uvicorn.Config(factory, factory=True, workers=1, timeout_worker_healthcheck=60)
    journal = JsonLogWriter(1)
    worker_starts.STARTUP_SECONDS = 0.0  # none is ready, so the time of a start does not matter
    module.MAX_FAILED_STARTS = 2
    supervisor = module.WorkerSupervisor(config, [socket.create_server(("127.0.0.1", 0))], load=None, journal=journal)
    try:
        supervisor.serve()
    except ConfigError as error:
        print(json_text := str(error), file=sys.stderr)
        journal.close()
        sys.exit(1)
"""


@pytest.mark.parametrize("cause", ["lifespan", "import", "crash"])
def test_workers_that_never_start_end_the_service(tmp_path: Path, cause: str) -> None:
    """A start that fails is not repeated for ever: the command ends with an error, and names the workers."""
    script, starts = tmp_path / "service.py", tmp_path / "starts"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), cause, str(starts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    ended = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 1, done.stderr
    assert "workers: a worker does not start" in done.stderr
    assert {event["event"] for event in ended} == {"worker_ended"}
    assert 1 <= len(starts.read_text()) <= 4
