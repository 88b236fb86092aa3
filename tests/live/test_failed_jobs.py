"""A failed job belongs to its job: its caller gets the model's failure, and no other caller notices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import fal_client
import pytest
from support.front_proxies import free_port, nginx
from support.gateway_process import QUICK, Gateway, Rig, javascript, until
from support.in_process_gateway import APP, ENDPOINT, INPUT, token
from support.streams import ALL_ACTIONS

from proxy.sandbox.faults import Fault, Kind

FAILING = replace(QUICK, faults=(Fault(kind=Kind.STATUS, action="model", status=500),))
SUBMIT = f"queue/{ENDPOINT}"


def test_javascript_gets_the_models_failure_through_nginx(rig: Rig, tmp_path: Path) -> None:
    """In polling and in streaming mode, and as often as the result is read."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    gateway = rig.gateway(rig.sandbox(FAILING).queue, origin=origin, endpoints=[ALL_ACTIONS])
    with nginx(tmp_path, [gateway.address], timeout=60, port=port):
        javascript("failed.test.mjs", GATEWAY=gateway.url)


async def test_python_gets_the_models_failure_through_nginx(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the model's own status, type and detail, at the first read."""
    port = free_port()
    gateway = rig.gateway(rig.sandbox(FAILING).queue, origin=f"http://127.0.0.1:{port}", endpoints=[ALL_ACTIONS])
    monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{gateway.url}/queue/")
    with nginx(tmp_path, [gateway.address], timeout=60, port=port):
        client = fal_client.AsyncClient(key=token())
        for _ in range(2):
            with pytest.raises(fal_client.FalClientHTTPError) as failed:
                await client.subscribe(ENDPOINT, arguments=INPUT)
            assert (failed.value.status_code, failed.value.error_type) == (500, "runner_server_error")
        await (await client._client).aclose()


def test_readers_of_failed_jobs_keep_no_other_caller_from_fal(rig: Rig) -> None:
    """Two callers read results of five failed jobs as fast as they can; a third one's calls all succeed."""
    faults = (Fault(kind=Kind.STATUS, action="model", status=503, count=10),)
    gateway = rig.gateway(rig.sandbox(replace(QUICK, faults=faults)).queue)
    failed = {subject: _failed_jobs(gateway, subject, 5) for subject in ("alice", "bob")}
    enough = Event()

    def read(subject: str) -> set[int]:
        statuses = set()
        with gateway.client(subject) as client:
            while not enough.is_set():
                for job in failed[subject]:
                    statuses.add(client.get(f"queue/{APP}/requests/{job}").status_code)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, subject) for subject in ("alice", "bob") * 2]
        with gateway.client("carol") as carol:
            submitted = [carol.post(SUBMIT, json=INPUT) for _ in range(50)]
            polled = [carol.get(f"queue/{APP}/requests/{job.json()['request_id']}/status") for job in submitted]
        enough.set()
        statuses = set().union(*(reader.result() for reader in readers))

    assert {answer.status_code for answer in submitted} == {200}
    assert {answer.status_code for answer in polled} <= {200, 202}
    assert statuses == {500}
    assert gateway.metric("fal_proxy_upstream_breaker_open") == 0.0


def _failed_jobs(gateway: Gateway, subject: str, count: int) -> list[str]:
    with gateway.client(subject) as client:
        jobs = [client.post(SUBMIT, json=INPUT).json()["request_id"] for _ in range(count)]
        for job in jobs:
            path = f"queue/{APP}/requests/{job}/status"
            until(lambda path=path: client.get(path).json()["status"] == "COMPLETED")  # type: ignore[misc]
    return jobs
