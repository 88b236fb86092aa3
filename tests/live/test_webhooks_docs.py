"""The code in docs/webhooks.md, run as it stands there against real deliveries."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.gateway_process import Rig, program
from support.webhooks import OLD_SECRET, SECRET, Delivery, hooked

TEXT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
Check = Callable[[Delivery, str], bool]


def snippet(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(code)


def python(_: Path) -> Check:
    space: dict[str, Callable[..., bool]] = {}
    exec(snippet("python"), space)
    return lambda delivery, secret: space["is_ours"](delivery.headers, delivery.body, secret)


def node(home: Path) -> Check:
    (home / "check.mjs").write_text(snippet("js"))
    (home / "main.mjs").write_text(
        "import { isOurs } from './check.mjs';\n"
        "const [headers, body, secret] = JSON.parse(process.argv[2]);\n"
        "console.log(isOurs(headers, Buffer.from(body, 'base64'), secret));\n"
    )

    def check(delivery: Delivery, secret: str) -> bool:
        argument = json.dumps([dict(delivery.headers), base64.b64encode(delivery.body).decode(), secret])
        command = [program("node"), str(home / "main.mjs"), argument]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return {"true": True, "false": False}[done.stdout.strip()]

    return check


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    home = tmp_path_factory.mktemp("docs")
    with Rig(home) as rig:
        hooks = hooked(rig, home)
        job = hooks.submit()
        hooks.call(hooks.fal.callbacks[job], *hooks.fal.signed(job, payload={"prompt": "ü\u2028"}))
        (one,) = hooks.app.deliveries
        yield one


@pytest.mark.parametrize("language", [python, node])
def test_the_documented_check(language: Callable[[Path], Check], delivery: Delivery, tmp_path: Path) -> None:
    """Takes a real delivery, and neither a changed one, nor an old one, nor one by another secret."""
    check = language(tmp_path)
    two = dict(delivery.headers) | {"webhook-signature": "v1,AAAA " + delivery.headers["webhook-signature"]}
    old = dict(delivery.headers) | {"webhook-timestamp": str(int(delivery.headers["webhook-timestamp"]) - 400)}
    odd = dict(delivery.headers) | {"webhook-timestamp": "now"}

    assert check(delivery, SECRET) is True
    assert check(Delivery(two, delivery.body, 0), SECRET) is True
    assert check(delivery, OLD_SECRET) is False
    assert check(Delivery(delivery.headers, delivery.body + b" ", 0), SECRET) is False
    assert check(Delivery(old, delivery.body, 0), SECRET) is False
    assert check(Delivery(odd, delivery.body, 0), SECRET) is False
