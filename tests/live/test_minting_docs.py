"""The guide's examples that mint a token, cut out of the page and run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from support.gateway_process import program
from support.identities import Identifier
from support.in_process_gateway import SESSION_SECRET
from support.provider_tokens import GUIDE

from proxy.auth.keys.hmac_secret import hmac_key
from proxy.auth.keys.key_source import StaticKeys
from proxy.auth.sessions.issuer import Issuer

IDENTITY = Path(__file__).parents[1] / "identity"
ENVIRON = {**os.environ, "SESSION_SECRET": SESSION_SECRET}


def accepted(token: str) -> None:
    issuer = Issuer("https://app.example.com", ("fal-proxy",), StaticKeys((hmac_key(SESSION_SECRET.encode()),)))
    caller = Identifier([issuer], clock=time.time).identify([(b"authorization", f"Bearer {token}".encode())])

    assert (caller.subject, caller.claims["plan"]) == ("alice", "pro")


def test_python() -> None:
    """The example for Python mints a session."""
    code = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[0]
    command = [sys.executable, "-c", f"{code}\nprint(mint('alice'))"]
    accepted(subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=True).stdout.strip())


def test_node() -> None:
    """The example for Node mints a session."""
    assert (IDENTITY / "node_modules/jose").exists(), "run `make test`, which installs the npm packages"
    command = [program("node"), "mint.mjs"]
    accepted(
        subprocess.run(command, cwd=IDENTITY, env=ENVIRON, capture_output=True, text=True, check=True).stdout.strip()
    )
