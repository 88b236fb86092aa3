"""Two fal keys of two accounts: their jobs, and a refusal of one of them, over real sockets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx2
import pytest
from support import gateway_process
from support.gateway_process import QUICK, Gateway, Rig, until
from support.in_process_gateway import APP, ENDPOINT, ENVIRON, FAL_KEY
from support.sandbox import data_uri, png

from proxy.app.setup.components import build_components
from proxy.demo.demo import SandboxAddresses

SPARE = "spare-account:canary-51d0aa"
KEYS = frozenset({FAL_KEY, SPARE})
DEFAULT_ID, SPARE_ID = FAL_KEY.partition(":")[0], "spare-account"
PROMPT = {"image_url": data_uri(png()), "prompt": "a cat"}


class TwoKeys:
    """A gateway with two keys of equal weight in front of the sandbox."""

    def __init__(self, gateway: Gateway, sandbox: SandboxAddresses) -> None:
        self.gateway = gateway
        self._control = sandbox.control

    def fail(self, *faults: dict[str, str]) -> None:
        httpx2.put(f"{self._control}/faults", json=list(faults), trust_env=False).raise_for_status()

    def submits(self) -> list[str]:
        """Returns the id of the key of each submit that the sandbox got."""
        journal = httpx2.get(f"{self._control}/journal", trust_env=False).json()
        return [one["key_id"] for one in journal if one["method"] == "POST" and one["path"] == f"/{ENDPOINT}"]

    def submit(self) -> httpx2.Response:
        with self.gateway.client() as client:
            return client.post(f"queue/{ENDPOINT}", json=PROMPT)

    def job(self, *, spare: bool) -> str:
        """Returns the handle of a new job of one key."""
        handles = [str(self.submit().json()["request_id"]) for _ in range(2)]
        return next(handle for handle in handles if ("~spare." in handle) is spare)

    def read(self, handle: str, path: str = "/status", method: str = "GET") -> httpx2.Response:
        with self.gateway.client() as client:
            return client.request(method, f"queue/{APP}/requests/{handle}{path}")

    def is_done(self, handle: str) -> bool:
        return self.read(handle).status_code == 200

    def readiness(self) -> dict[str, str]:
        host, port = self.gateway.address
        checks: dict[str, str] = httpx2.get(f"http://{host}:{port}/readyz", trust_env=False).json()["checks"]
        return checks


@pytest.fixture
def two(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> TwoKeys:
    monkeypatch.setattr(
        gateway_process, "build_components", lambda config: replace(build_components(config), probe_interval=0.2)
    )
    sandbox = rig.sandbox(replace(QUICK, keys=KEYS))
    environ = {**ENVIRON, "FAL_KEYS": f"spare={SPARE}"}
    return TwoKeys(rig.gateway(sandbox.queue, environ=environ, fal={"rest_origin": sandbox.rest}), sandbox)


def test_each_job_is_served_by_its_own_key(two: TwoKeys) -> None:
    """Each sandbox account has its own jobs, so every read shows that the right key was used."""
    for spare in (False, True):
        handle = two.job(spare=spare)
        until(partial(two.is_done, handle))
        assert two.read(handle, "").status_code == 200
        assert two.read(handle, "/status/stream").text.count("COMPLETED") == 1
        assert two.read(handle, "/cancel", "PUT").status_code in (200, 400)
    with two.gateway.client() as client:
        listed = client.get("jobs").json()["jobs"]

    assert sorted("~spare." in job["request_id"] for job in listed) == [False, False, True, True]
    assert two.submits().count(SPARE_ID) == 2
    assert all(two.read(job["request_id"]).status_code == 200 for job in listed)


@pytest.mark.parametrize(("kind", "cause"), [("locked", "locked"), ("invalid-key", "bad-key")])
def test_a_refused_key_leaves_the_rotation_and_comes_back(two: TwoKeys, kind: str, cause: str) -> None:
    """One submit meets the refusal, its repeat succeeds, and only that key's jobs cannot be read."""
    spare, default = two.job(spare=True), two.job(spare=False)
    two.fail({"kind": kind, "key": SPARE_ID})
    answers = [two.submit() for _ in range(6)]
    refused = [answer for answer in answers if answer.status_code != 200]

    assert [(answer.status_code, answer.json()["error_type"]) for answer in refused] == [(503, "unavailable")]
    assert all("retry-after" in answer.headers for answer in refused)
    assert not any("~spare." in answer.text for answer in answers)
    assert (two.read(spare).status_code, two.read(spare).json()["error_type"]) == (503, "service_paused")
    assert two.read(default).status_code in (200, 202)
    assert two.readiness()["fal_keys"] == f"default: ok; spare: {cause}"
    assert two.readiness()["upstream"] == "ok"
    assert 'fal_proxy_upstream_key_paused{alias="spare"} 1.0' in two.gateway.metrics()
    assert two.gateway.metric("fal_proxy_upstream_paused") == 0

    two.fail()
    until(lambda: "~spare." in two.submit().json()["request_id"])
    assert two.read(spare).status_code in (200, 202)
    until(lambda: two.gateway.journal().count('"event":"upstream_account"') == 2)
    assert "canary" not in two.gateway.journal() + two.gateway.metrics()


def test_the_service_is_paused_only_where_no_key_works(two: TwoKeys) -> None:
    """No submit is sent any more after that, and both keys come back by the probe."""
    two.fail({"kind": "locked", "key": DEFAULT_ID}, {"kind": "invalid-key", "key": SPARE_ID})
    refused = [two.submit() for _ in range(4)]

    assert [answer.status_code for answer in refused] == [503] * 4
    kinds = [answer.json()["error_type"] for answer in refused]
    assert kinds == ["unavailable", "service_paused", "service_paused", "service_paused"]
    assert sorted(two.submits()) == sorted([DEFAULT_ID, SPARE_ID])
    assert two.readiness()["upstream"].startswith("fal refuses our account")

    two.fail()
    until(lambda: two.submit().status_code == 200)


def test_a_handle_of_an_unknown_alias_is_no_job(two: TwoKeys, tmp_path: Path) -> None:
    """The answer is that of every other unknown id, and fal is not asked."""
    handle = two.job(spare=True)
    changed = [handle.replace("~spare", alias) for alias in ("", "~other", "~default", "~spare~spare", "~SPARE")]
    answers = [two.read(one) for one in (*changed, "x")]

    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[-1].text)}
