"""Tests of `fal-proxy check --live --submit` against sandboxes that differ from the one it starts."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from proxy.app.setup.components import build_components
from proxy.config.loader import read
from proxy.demo.contract_check import check_contract
from proxy.demo.demo import sandbox
from proxy.errors import ConfigError
from proxy.sandbox.faults import Fault, Kind
from proxy.sandbox.settings import SandboxSettings

KEY = "key-id:" + secrets.token_hex(16)
ENVIRON = {
    "FAL_KEY": KEY,
    "SESSION_SECRET": secrets.token_urlsafe(48),
    "FAL_PROXY_HANDLE_SECRETS": secrets.token_urlsafe(48),
}


async def differences(folder: Path, *faults: Fault, endpoint: str | None = None) -> dict[str, list[str]]:
    """Returns the reported problems by step, of a fal that has *faults*."""
    settings = SandboxSettings(keys=frozenset({KEY}), queue_seconds=0.1, run_seconds=0.1, faults=faults)
    async with sandbox(settings) as origins:
        document = {
            "server": {"public_origin": "http://127.0.0.1"},
            "fal": {"queue_origin": origins.queue, "run_origin": origins.run, "rest_origin": origins.rest},
            "sessions": [
                {"issuer": "app", "audience": "gateway", "algorithms": ["HS256"], "secret_env": "SESSION_SECRET"}
            ],
            "endpoints": [{"id": "fal-ai/flux/dev"}, {"id": "fal-ai/hyper-sdxl/image-to-image"}],
        }
        components = build_components(read(document, ENVIRON, base=folder))
        found: dict[str, list[str]] = {}
        for problem in await check_contract(components, endpoint, None):
            found.setdefault(problem.key.removeprefix("fal: "), []).append(problem.message)
        return found


@pytest.mark.parametrize("endpoint", [None, "fal-ai/hyper-sdxl/image-to-image"])
async def test_a_fal_like_the_sandbox_has_no_difference(tmp_path: Path, endpoint: str | None) -> None:
    """The job runs through all steps; an input with a picture is made from the schema."""
    assert await differences(tmp_path, endpoint=endpoint) == {}


@pytest.mark.parametrize(
    ("fault", "step", "words"),
    [
        (Fault(Kind.STATUS, "submit", status=500, count=1), "submit", "answers 500, the sandbox 200"),
        (Fault(Kind.CONTENT_TYPE, "status"), "status, finished", "sends text/html, the sandbox application/json"),
        (Fault(Kind.STATUS, "cancel", status=409), "cancel, finished", "answers 409, the sandbox 400"),
        (Fault(Kind.STATUS, "model", status=500), "result", "answers 500, the sandbox 200"),
        (Fault(Kind.NOT_JSON, "status-stream"), "stream", "sends application/json, the sandbox text/event-stream"),
        (Fault(Kind.STATUS, "upload", status=503), "upload", "answers 503, the sandbox 200"),
        (Fault(Kind.STATUS, "put", status=403), "upload, put", "answers 403, the sandbox 200"),
        (Fault(Kind.RESET, "result"), "fal", "the calls broke after status, finished"),
    ],
    ids=lambda value: f"{value.kind}-{value.action}" if isinstance(value, Fault) else "",
)
async def test_each_deviation_is_reported(tmp_path: Path, fault: Fault, step: str, words: str) -> None:
    """A fal that answers otherwise is reported at the step, with both answers."""
    found = await differences(tmp_path, fault)

    assert words in "\n".join(found[step])


async def test_an_endpoint_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    """Nothing is submitted for an endpoint that the configuration has not."""
    with pytest.raises(ConfigError, match="acme/other is not listed"):
        await differences(tmp_path, endpoint="acme/other")
