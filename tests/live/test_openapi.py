"""Requests generated from openapi.json by Schemathesis, against the gateway in front of the sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.gateway_process import Rig
from support.in_process_gateway import ENDPOINT, token

from proxy.fal_api.operations import Action

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ACTIONS = ["submit", "status", "status-stream", "result", "cancel", "run", "run-stream"]


def test_generated_requests_get_documented_answers(tmp_path: Path) -> None:
    """No generated request gets a 5xx, or a status, type or body that the document does not have."""
    with Rig(tmp_path) as rig:
        upstream = rig.sandbox()
        gateway = rig.gateway(
            upstream.queue,
            fal={"queue_origin": upstream.queue, "run_origin": upstream.run, "rest_origin": upstream.rest},
            endpoints=[{"id": ENDPOINT, "actions": ACTIONS}, {"id": "fal-ai/flux/dev", "actions": ACTIONS}],
            uploads={},
            realtime={"apps": [ENDPOINT]},
        )
        run = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{gateway.url}/openapi.json"),
                *("-H", f"Authorization: Bearer {token()}", "--checks", CHECKS),
                *("--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1"),
                *("--request-timeout", "20", "--generation-database", "none"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=300,
            env={**os.environ, "NO_COLOR": "1"},
        )
        answered = gateway.requests()

    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-1000:]
    assert len(answered) > 300
    assert {str(line["action"]) for line in answered} >= {str(Action.SUBMIT), str(Action.RUN), str(Action.UPLOAD)}
