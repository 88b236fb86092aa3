"""Uploads and realtime tokens through a gateway to the sandbox, by the stock clients and by hand."""

from __future__ import annotations

import json

import httpx2
import pytest
from support.gateway_process import Gateway, Rig, javascript
from support.in_process_gateway import ENDPOINT, ENVIRON, FAL_KEY, INPUT

from proxy.demo.demo import SandboxAddresses, build_demo
from proxy.errors import ValidationFailed
from proxy.fal_api.operations import Action

APP = "fal-ai/fast-turbo-diffusion"
INITIATE = "storage/upload/initiate"
PNG = {"content_type": "image/png", "file_name": "cat.png"}
UPLOADS = {"content_types": ["image/png", "application/zip"], "lifetime_seconds": 3600}


def opened(rig: Rig, sandbox: SandboxAddresses, **sections: object) -> Gateway:
    settings: dict[str, object] = {
        "endpoints": [{"id": ENDPOINT, "files": {"hosts": ["*", "uploads"]}}],
        "realtime": {"apps": [APP], "max_seconds": 60},
        **sections,
    }
    origins = {"run_origin": sandbox.run, "rest_origin": sandbox.rest}
    return rig.gateway(sandbox.queue, origin=None, environ=ENVIRON, fal=origins, uploads=UPLOADS, **settings)


def test_javascript_realtime(rig: Rig) -> None:
    """The default token provider of `fal.realtime` passes every test of `tokens.test.mjs`."""
    sandbox = rig.sandbox()
    gateway = opened(rig, sandbox)

    javascript("tokens.test.mjs", GATEWAY=gateway.url, RUN=sandbox.run)


def test_an_uploaded_file_feeds_a_job(rig: Rig) -> None:
    """Path mode by hand: announce, PUT to the presigned URL, submit its file URL."""
    gateway = opened(rig, rig.sandbox())
    with gateway.client() as alice:
        announced = alice.post(INITIATE, json=PNG).json()
        put = httpx2.put(announced["upload_url"], content=b"\x89PNG", trust_env=False)
        submitted = alice.post(f"queue/{ENDPOINT}", json={"image_url": announced["file_url"], "prompt": "x"})

    assert announced.keys() == {"upload_url", "file_url"}
    assert (put.status_code, submitted.status_code) == (200, 200)


def test_the_demo_takes_uploads(rig: Rig) -> None:
    """In the demo a picture is uploaded and fetched from the sandbox, and no other loopback address is."""
    sandbox = rig.sandbox()
    parts = build_demo(origin="http://127.0.0.1:8080", upstream=sandbox, fal_key=FAL_KEY).parts
    policy = next(policy for policy in parts.policies if policy.endpoint == ENDPOINT)

    assert Action.UPLOAD in parts.rest_actions.issues
    assert policy.admit(json.dumps({**INPUT, "image_url": f"{sandbox.rest}/files/a.png"}).encode()).raw
    for url in (f"{sandbox.control}/journal", f"{sandbox.queue}/x", "http://127.0.0.1:8080/metrics"):
        with pytest.raises(ValidationFailed):
            policy.admit(json.dumps({**INPUT, "image_url": url}).encode())


def test_a_token_reaches_its_caller_and_no_log(rig: Rig) -> None:
    """Both mints answer in their own shapes.

    The journal holds neither token, nor any presigned URL, nor the key.
    """
    sandbox = rig.sandbox()
    gateway = opened(rig, sandbox)
    with gateway.client() as alice:
        older = alice.post("tokens/", json={"allowed_apps": [APP.split("/")[1]], "token_expiration": 9999})
        newer = alice.post("tokens/realtime", json={"allowed_apps": [f"{APP}/realtime"], "duration": 30})
        upload = alice.post(INITIATE, json=PNG)
        last = gateway.request_line(upload.headers["x-fal-request-id"])

    assert (older.status_code, newer.status_code, upload.status_code) == (200, 200, 200)
    secrets = [older.json(), newer.json()["token"], upload.json()["upload_url"].partition("signature=")[2], FAL_KEY]
    assert all(len(secret) > 8 for secret in secrets)
    assert [secret for secret in secrets if secret in gateway.journal()] == []
    assert (last["action"], last["endpoint"], last["outcome"]) == ("upload", "uploads", "accepted")


def test_their_budgets_are_told(rig: Rig) -> None:
    """The usage has a budget of uploads, one of tokens, and an untouched one of endpoints."""
    budgets = [
        {"name": "all", "per": "user", "window": "day", "limit": 10},
        {"name": "files", "per": "user", "window": "day", "limit": 2, "endpoints": ["uploads"]},
        {"name": "talk", "per": "user", "window": "day", "limit": 9, "endpoints": ["realtime"]},
    ]
    gateway = opened(
        rig,
        rig.sandbox(),
        budgets=budgets,
        endpoints=[{"id": ENDPOINT, "price": "1"}],
        realtime={"apps": [APP], "price": 4},
    )
    with gateway.client() as alice:
        statuses = [alice.post(INITIATE, json=PNG).status_code for _ in range(3)]
        alice.post("tokens/realtime", json={"allowed_apps": [f"{APP}/realtime"]})
        refused = alice.post(INITIATE, json=PNG).json()
        by_name = {budget["name"]: budget for budget in alice.get("usage").json()["budgets"]}

    assert statuses == [200, 200, 402]
    assert (refused["error_type"], refused["budget"]["name"]) == ("budget_exceeded", "files")
    assert {name: (b["used"], b["reserved"], b["left"]) for name, b in by_name.items()} == {
        "all": (0, 0, 10),
        "files": (2, 0, 0),
        "talk": (4, 0, 5),
    }
