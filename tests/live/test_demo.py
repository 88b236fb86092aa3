"""Tests of the process `fal-proxy demo`: its output, and the commands in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import httpx2
from PIL import Image, ImageChops
from support.demo import CANARY, COMMAND, demo, interrupt
from support.gateway_process import CLIENTS, program, until

from proxy.demo.demo import ENDPOINT
from proxy.demo.instructions import PICTURE


def said_to_a_person(process: subprocess.Popen[str]) -> str:
    """Returns all that is printed before the demo waits for its user."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "Ctrl-C" not in lines[-1]:
        line = process.stdout.readline()
        assert line, "the demo ended by itself:\n" + "".join(lines)
        lines.append(line)
    return "".join(lines)


def test_one_line_for_scripts() -> None:
    """Once ready, --json prints one line: the addresses of gateway and sandbox, and a token a user."""
    with demo("--json") as process:
        assert process.stdout is not None
        printed = json.loads(process.stdout.readline())
        with httpx2.Client(base_url=printed["url"], trust_env=False) as client:
            ready = client.get("/readyz")
            usages = [
                client.get("/api/fal/usage", headers={"authorization": f"Bearer {token}"})
                for token in printed["tokens"].values()
            ]
        counts = httpx2.get(f"{printed['control']}/counts", trust_env=False).json()
        sandbox = httpx2.post(f"{printed['upstream']}/acme/echo", json={}, trust_env=False)
        interrupt(process)
        assert process.stdout.read() == ""

    assert sorted(printed) == ["control", "tokens", "upstream", "url"]
    assert sorted(printed["tokens"]) == ["alice", "bob"]
    assert [answer.status_code for answer in (ready, *usages)] == [200, 200, 200]
    assert counts["submits"]["total"] == 0
    assert (sandbox.status_code, sandbox.headers["x-sandbox"]) == (401, "1")


def test_curl_as_pasted(tmp_path: Path) -> None:
    """The printed commands submit, wait and download a new picture of the size asked for."""
    program("curl")
    with demo() as process:
        text = said_to_a_person(process)
        token = re.findall(r"^TOKEN=.*$", text, re.MULTILINE)
        commands = text[text.index("Paste all of it:\n") : text.index("  With JavaScript")].partition("\n")[2]
        done = subprocess.run(
            [program("bash"), "-e"],
            input="\n".join([*token, commands]),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert "SANDBOX. This is not fal.ai" in text
    assert re.search(r"^  Gateway   http://127\.0\.0\.1:\d+/api/fal$", text, re.MULTILINE)
    assert done.returncode == 0, done.stderr
    assert "COMPLETED" in done.stderr
    with Image.open(tmp_path / "picture.jpg") as got, Image.open(BytesIO(b64decode(PICTURE.partition(",")[2]))) as sent:
        assert (got.format, got.size) == ("JPEG", (512, 512))
        difference = ImageChops.difference(got.convert("RGB"), sent.convert("RGB").resize(got.size))
    assert max(difference.tobytes()) > 32


def test_javascript_as_pasted() -> None:
    """The printed script, run with the client, ends with the picture's address and a job handle."""
    with demo() as process:
        text = said_to_a_person(process)
        script = text[text.index("import {") : text.index("  Ctrl-C")]
        command = [program("node"), "--input-type=module", "-e", script]
        done = subprocess.run(command, cwd=CLIENTS, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    *states, last = done.stdout.split("\n")[:-1]
    assert states[-1] == "COMPLETED"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/files/\S+ [0-9a-f-]{36}\.[\w-]{24}", last)


def test_a_user_signs_in_with_a_cookie() -> None:
    """The page's way: pick a user, get a cookie, call with it from the same origin.

    No other page can.
    """
    with demo("--json") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        ours = {"origin": url, "sec-fetch-site": "same-origin"}
        evil = {"origin": "https://evil.test", "sec-fetch-site": "cross-site"}
        submit, job = f"/api/fal/queue/{ENDPOINT}", {"image_url": PICTURE, "prompt": "a"}
        with httpx2.Client(base_url=url, trust_env=False) as browser:
            users = browser.get("/demo/users").json()
            before = browser.get("/api/fal/usage", headers=ours)
            forged = browser.post("/demo/session", json={"user": "alice"}, headers=evil)
            signed = browser.post("/demo/session", json={"user": "alice"}, headers=ours)
            submitted = browser.post(submit, json=job, headers=ours)
            crossed = browser.post(submit, json=job, headers=evil)
            polled = browser.get(submitted.json()["status_url"], headers={"sec-fetch-site": "same-origin"})
            left = browser.delete("/demo/session", headers=ours)
            after = browser.get("/api/fal/usage", headers=ours)

    assert users == {"users": ["alice", "bob"], "credits": {"alice": 20.0, "bob": 5.0}}
    assert [a.status_code for a in (before, forged, signed, submitted, crossed)] == [401, 403, 204, 200, 403]
    assert polled.status_code in (200, 202)
    assert (left.status_code, after.status_code) == (204, 401)
    assert re.fullmatch(r"fal-session=[\w.-]+; Path=/; HttpOnly; SameSite=Strict", signed.headers["set-cookie"])


def test_interrupted() -> None:
    """Ctrl-C ends it with status 0 and leaves no process behind.

    A key in the environment is in no argument list.
    """
    with demo("--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        arguments = Path(f"/proc/{process.pid}/cmdline").read_text(encoding="utf-8").split("\0")[:-1]
        interrupt(process)

    assert process.returncode == 0
    assert arguments[-5:] == [*COMMAND, "--json"]
    assert CANARY not in " ".join(arguments)
    until(lambda: not _group_lives(process.pid))


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
