"""A sandbox of fal on loopback ports, with its faults, counts and received requests."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import httpx2

from proxy.auth.token_minting import mint
from proxy.config.loader import Config
from proxy.demo.demo import SandboxAddresses, sandbox
from proxy.sandbox.faults import Action
from proxy.sandbox.request_log import LoggedRequest
from proxy.sandbox.settings import SandboxSettings
from proxy.strict_json import Json
from proxy.testing.configuration import AUDIENCE, ISSUER, Upstream, configure
from proxy.testing.event_loop import EventLoopThread, event_loop_thread

IMMEDIATE = SandboxSettings(queue_seconds=0, run_seconds=0, concurrency=100)
TOKEN_SECONDS = 3600.0
_CONTROL_SECONDS = 10.0
_NO_CLAIMS: Mapping[str, Json] = {}

FaultKind = Literal[
    "latency",
    "status",
    "hang",
    "reset",
    "truncate",
    "garbage",
    "not-json",
    "content-type",
    "redirect",
    "locked",
]


class FaultOptions(TypedDict, total=False):
    """Options of a fault. *count* is how many requests fail; without it all do."""

    count: int
    probability: float
    delay: float
    after: bool
    status: int
    html: bool
    location: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Counts:
    """Accepted calls since the start of the test, and the billable units of all successes."""

    submits: int
    runs: int
    cancels: int
    billable_units: float
    submits_by_endpoint: Mapping[str, int]


class FalSandbox:
    """A running sandbox. *addresses* are its origins, *fal_key* is the key that it accepts."""

    def __init__(self, addresses: SandboxAddresses, fal_key: str, loop: EventLoopThread) -> None:
        self.addresses = addresses
        self.fal_key = fal_key
        self.loop = loop
        self._upstream = Upstream(addresses, fal_key, secrets.token_urlsafe(48))
        self._control = httpx2.Client(base_url=addresses.control, timeout=_CONTROL_SECONDS, trust_env=False)

    def fail(self, kind: FaultKind, *, action: Action = "*", **options: Unpack[FaultOptions]) -> None:
        """Adds a fault. Of several that match a request the first acts.

        Raises ValueError for options that do not fit.
        """
        active = self._control.get("/faults").json()
        answer = self._control.put("/faults", json=[*active, {"kind": kind, "action": action, **options}])
        if answer.is_error:
            raise ValueError(answer.text)

    def recover(self) -> None:
        """Removes all faults."""
        self._control.delete("/faults").raise_for_status()

    @property
    def counts(self) -> Counts:
        """Counts of the calls that fal would bill."""
        counts = self._control.get("/counts").json()
        return Counts(
            submits=counts["submits"]["total"],
            runs=counts["runs"]["total"],
            cancels=counts["cancels"],
            billable_units=counts["billable_units"],
            submits_by_endpoint=counts["submits"]["by_endpoint"],
        )

    @property
    def requests(self) -> list[LoggedRequest]:
        """The requests that it received, oldest first. A key is replaced by `accepted` or `refused`."""
        entries = (LoggedRequest(**entry) for entry in self._control.get("/journal").json())
        return [replace(entry, headers=[(name, value) for name, value in entry.headers]) for entry in entries]

    def reset(self) -> None:
        """Removes jobs, files, logged requests, counts and faults."""
        self._control.post("/reset").raise_for_status()

    def token(
        self,
        subject: str = "alice",
        *,
        scopes: Collection[str] = (),
        lifetime: float = TOKEN_SECONDS,
        claims: Mapping[str, Json] = _NO_CLAIMS,
    ) -> str:
        """Returns a session token of *subject* for gateways in front of this sandbox.

        It holds for *lifetime* seconds; a negative one makes an expired token.
        """
        return mint(
            algorithm="HS256",
            key=self._upstream.token_secret.encode(),
            issuer=ISSUER,
            audience=AUDIENCE,
            subject=subject,
            lifetime=lifetime,
            now=time.time(),
            scopes=scopes,
            claims=claims,
        )

    def configure(
        self, source: Path | Mapping[str, object] | None = None, *, public_origin: str = "https://testserver"
    ) -> Config:
        """Returns the configuration of *source* for `create_app`, with this sandbox as its fal.

        *source* is your file, its sections, or None for all endpoints of the sandbox. *public_origin* is that of the
        app, as in `TestClient(app, base_url="https://testserver")`.
        """
        return configure(source, self._upstream, public_origin=public_origin, environ=os.environ)

    def close(self) -> None:
        """Closes the connections to the control API."""
        self._control.close()


@contextmanager
def running_sandbox(settings: SandboxSettings = IMMEDIATE) -> Iterator[FalSandbox]:
    """Runs a sandbox on free loopback ports and a thread of its own."""
    fal_key = f"sandbox:{secrets.token_hex(16)}"
    with (
        event_loop_thread() as loop,
        loop.entered(sandbox(replace(settings, keys=frozenset({fal_key})))) as addresses,
    ):
        running = FalSandbox(addresses, fal_key, loop)
        try:
            yield running
        finally:
            running.close()
