"""Tests of foreign jobs: the answer of an unknown job to the byte, and no call of fal."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest
from support.gateway_process import Gateway, Rig, ask, message
from support.in_process_gateway import APP, AUDIENCE, ENDPOINT, INPUT, ISSUER, SESSION_SECRET, token

from proxy.auth.caller import caller_key
from proxy.auth.token_minting import mint
from proxy.demo.demo import SandboxAddresses
from proxy.payload.validation.schema_file import SHIPPED

OTHER_ISSUER = "https://other.example.com"
OTHER_APP = "acme/echo"
ACTIONS = {
    "result": ("GET", b""),
    "response": ("GET", b"/response"),
    "status": ("GET", b"/status"),
    "status with logs": ("GET", b"/status?logs=1"),
    "cancel": ("PUT", b"/cancel"),
    "stream": ("GET", b"/status/stream"),
}


@dataclass(frozen=True)
class House:
    """A gateway before a sandbox, in which alice and bob have a job each."""

    gateway: Gateway
    sandbox: SandboxAddresses
    alices: str
    bobs: str

    def heard(self) -> int:
        """Returns the number of requests to the sandbox."""
        return len(httpx2.get(f"{self.sandbox.control}/journal", trust_env=False).json())

    def ask(self, session: str, job: bytes, action: str, mode: str, *, app: str = APP) -> bytes:
        """Returns the answer about *job*, as it stands on the wire."""
        method, rest = ACTIONS[action]
        path = b"/%b/requests/%b%b" % (app.encode(), job, rest)
        authorization = f"Authorization: Bearer {session}".encode()
        if mode == "path":
            return ask(self.gateway.address, message(method, b"/api/fal/queue" + path, authorization))
        target = b"x-fal-target-url: https://queue.fal.run" + path
        return ask(self.gateway.address, message(method, b"/api/fal/proxy", authorization, target))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    session = {"audience": AUDIENCE, "algorithm": "HS256", "secret_env": "SESSION_SECRET"}
    with Rig(tmp_path_factory.mktemp("house")) as rig:
        sandbox = rig.sandbox()
        gateway = rig.gateway(
            sandbox.queue,
            sessions=[{"issuer": issuer, **session} for issuer in (ISSUER, OTHER_ISSUER)],
            endpoints=[
                {"id": ENDPOINT},
                {
                    "id": OTHER_APP,
                    "schema_file": str(SHIPPED / f"{ENDPOINT}.json"),
                    "actions": ["submit", "status", "result", "cancel"],
                },
            ],
        )
        yield House(gateway, sandbox, submitted(gateway, "alice"), submitted(gateway, "bob"))


def submitted(gateway: Gateway, subject: str) -> str:
    with gateway.client(subject) as client:
        answer = client.post(f"queue/{ENDPOINT}", json=INPUT)
    assert answer.status_code == 200
    return str(answer.json()["request_id"])


def spellings(house: House) -> dict[str, bytes]:
    """Returns job ids that are not bob's, as he could send them."""
    alices, bobs = house.alices.encode(), house.bobs.encode()
    (job, _, mac), (bobs_job, _, bobs_mac) = alices.partition(b"."), bobs.partition(b".")
    other = b"A" if mac[:1] != b"A" else b"B"
    return {
        "alice's": alices,
        "raw": job,
        "his own, raw": bobs_job,
        "made up": b"00000000-0000-4000-8000-000000000000." + b"A" * 24,
        "made up, raw": b"00000000-0000-4000-8000-000000000000",
        "her job, his mac": job + b"." + bobs_mac,
        "his job, her mac": bobs_job + b"." + mac,
        "mac one letter off at its start": job + b"." + other + mac[1:],
        "mac one letter off at its end": job + b"." + mac[:-1] + other,
        "mac cut": alices[:-1],
        "mac longer": alices + b"A",
        "mac empty": job + b".",
        "mac padded": alices + b"=",
        "mac twice": alices + b"." + mac,
        "mac alone": b"." + mac,
        "upper case": alices.upper(),
        "dot encoded": alices.replace(b".", b"%2e"),
        "slash encoded": alices + b"%2f..",
        "NUL encoded": alices + b"%00",
        "line end encoded": alices + b"%0d%0aset-cookie:x",
        "space encoded": b"%20" + alices,
        "joined": alices + b"," + bobs,
        "empty": b"",
        "dots": b"..",
        "star": b"*",
        "quote": b"'%20or%201=1--",
        "non-ASCII encoded": b"%d9%a1%d9%a2",
        "long": b"a" * 3000,
    }


def normal(answer: bytes) -> bytes:
    """Returns *answer* without its date and request id, of which there is one each."""
    answer, dates = re.subn(rb"\r\ndate: [^\r]+", b"\r\ndate: ", answer)
    answer, ids = re.subn(rb"\r\nx-fal-request-id: [0-9a-f]{32}", b"\r\nx-fal-request-id: ", answer)
    assert (dates, ids) == (1, 1), answer
    return answer


@pytest.mark.parametrize("mode", ["path", "header"])
@pytest.mark.parametrize("action", ACTIONS)
def test_every_id_that_is_not_bobs(house: House, action: str, mode: str) -> None:
    """Foreign, raw, made-up and malformed ids get the same bytes for every action, and none reaches fal."""
    before = house.heard()
    answers = {name: normal(house.ask(token("bob"), job, action, mode)) for name, job in spellings(house).items()}
    never_was = normal(house.ask(token("bob"), b"never-was." + b"x" * 24, "result", "path"))

    assert never_was.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert never_was.endswith(b'"Job not found","error_type":"job_not_found"}')
    assert {name: answer for name, answer in answers.items() if answer != never_was} == {}
    assert house.heard() == before


@pytest.mark.parametrize("mode", ["path", "header"])
def test_what_is_not_offered_tells_nothing_of_jobs(house: House, mode: str) -> None:
    """An action that no endpoint lists is refused alike for every id, the caller's own included."""
    before = house.heard()
    handles = house.gateway.parts.handles
    job = handles.sign(house.bobs.partition(".")[0], owner=caller_key(ISSUER, "bob"), app=OTHER_APP)
    own = house.ask(token("bob"), job.encode(), "stream", mode, app=OTHER_APP)
    others = {house.ask(token("bob"), other, "stream", mode, app=OTHER_APP) for other in spellings(house).values()}

    assert own.startswith(b"HTTP/1.1 403 ")
    assert {normal(answer) for answer in others} == {normal(own)}
    assert house.heard() == before


def test_the_same_name_at_another_issuer(house: House) -> None:
    """A user alice of another issuer is another user."""
    key = SESSION_SECRET.encode()
    session = mint(
        algorithm="HS256",
        key=key,
        issuer=OTHER_ISSUER,
        audience=AUDIENCE,
        subject="alice",
        lifetime=60,
        now=time.time(),
    )
    before = house.heard()
    answers = {normal(house.ask(session, house.alices.encode(), action, "path")) for action in ACTIONS}

    assert answers == {normal(house.ask(session, b"x", "result", "path"))}
    assert house.heard() == before


def test_her_own_job_at_another_app(house: House) -> None:
    """A handle opens its job below the app it was made for and nowhere else."""
    before = house.heard()
    answers = {
        normal(house.ask(token("alice"), house.alices.encode(), action, mode, app=OTHER_APP))
        for action in ACTIONS.keys() - {"stream"}  # which the other app does not list
        for mode in ("path", "header")
    }

    assert answers == {normal(house.ask(token("alice"), b"x", "result", "path"))}
    assert house.heard() == before


@pytest.mark.parametrize("mode", ["path", "header"])
@pytest.mark.parametrize("action", ["result", "response", "status", "cancel"])
def test_a_job_that_fal_forgot(house: House, action: str, mode: str) -> None:
    """fal's own NOT_FOUND, which a handle may meet an hour after the job's end, is the same answer."""
    forgotten = house.gateway.job("alice").encode()
    before = house.heard()
    answer = house.ask(token("alice"), forgotten, action, mode)

    assert normal(answer) == normal(house.ask(token("bob"), forgotten, action, mode))
    assert house.heard() == before + 1


@pytest.mark.parametrize("mode", ["path", "header"])
def test_her_own_job(house: House, mode: str) -> None:
    """The control: what is refused above is open to its owner, by either mode."""
    before = house.heard()
    answers = {
        action: int(house.ask(token("alice"), house.alices.encode(), action, mode).split()[1])
        for action in ("status", "status with logs", "cancel")
    }

    assert answers["status"] in (200, 202)
    assert answers["status with logs"] in (200, 202)
    assert answers["cancel"] in (200, 202, 400)  # 400: fal says ALREADY_COMPLETED
    assert house.heard() == before + 3
