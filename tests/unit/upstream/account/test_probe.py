from __future__ import annotations

import asyncio

import pytest
from support.scripted_upstream import until

from proxy.errors import ConnectFailed, ServicePaused, StoreAway
from proxy.http.client.messages import UpstreamResponse
from proxy.upstream.account.fal_key import FalKey
from proxy.upstream.account.probe import AccountProbe, Finding
from proxy.upstream.account.state import Account

INTERVAL = 0.01


class Target:
    """Target of a call."""

    endpoint = "fal-ai/flux/dev"
    app = "fal-ai/flux"


class Uploads:
    """Target of an upload."""

    endpoint = app = "uploads"


class Lease:
    """A lease of this process: *findings* are those of other workers; None lets this one probe."""

    def __init__(self, *findings: Finding | StoreAway | None) -> None:
        self.findings = list(findings)
        self.published: list[Finding] = []
        self.names: list[str] = []

    async def take(self, name: str) -> Finding | None:
        self.names.append(name)
        finding = self.findings.pop(0) if self.findings else None
        if isinstance(finding, StoreAway):
            raise finding
        return finding

    async def publish(self, name: str, finding: Finding) -> None:
        self.published.append(finding)


class Probed:
    """An account whose status reads are answered with *statuses* in turn; the last one stays."""

    def __init__(self, *statuses: int | Exception, lease: Lease | None = None) -> None:
        self.statuses = list(statuses)
        self.lease = lease or Lease()
        self.apps: list[str] = []
        self.aliases: list[str] = []
        self.account = Account(
            [FalKey("id:secret-1"), FalKey("id:secret-2", "b")], report=lambda state, pause, words: None
        )
        self.probe = AccountProbe(
            self.account, self.read_status, self.lease, app="listed/app", clock=lambda: 0.0, interval=INTERVAL
        )

    async def read_status(self, app: str, alias: str) -> UpstreamResponse:
        self.apps.append(app)
        self.aliases.append(alias)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(status, Exception):
            raise status
        return UpstreamResponse(status, (), b"{}")

    def refuse(self, cause: str = "locked", target: Target | Uploads | None = None, alias: str = "") -> None:
        self.account.refused(ServicePaused(retry_after=20, cause=cause), target or Target(), alias)

    async def resumed(self) -> None:
        await until(lambda: not self.account.pauses)


async def test_the_account_is_probed_until_fal_accepts_it() -> None:
    """A refusal, an outage and a broken connection keep the pause; a 404 for the made-up job ends it."""
    probed = Probed(403, 502, ConnectFailed("refused"), 429, 404)
    probed.refuse()
    await probed.resumed()

    assert probed.apps == ["fal-ai/flux"] * 5
    assert probed.lease.published == [Finding.REFUSED] * 4 + [Finding.ACCEPTED]
    probed.account.check(Target())


async def test_no_probe_runs_before_a_refusal() -> None:
    """A good account costs nothing."""
    probed = Probed(404)
    await asyncio.sleep(3 * INTERVAL)

    assert probed.apps == []


async def test_the_finding_of_another_worker_is_taken() -> None:
    """Only one worker asks fal."""
    probed = Probed(403, lease=Lease(Finding.REFUSED, Finding.PENDING, Finding.ACCEPTED))
    probed.refuse()
    await probed.resumed()

    assert probed.apps == []


async def test_without_the_store_each_worker_probes() -> None:
    """A lost store must not keep the service paused."""
    probed = Probed(404, lease=Lease(StoreAway()))
    probed.refuse()
    await probed.resumed()

    assert len(probed.apps) == 1


@pytest.mark.parametrize(("cause", "apps"), [("locked", ["listed/app"]), ("endpoint", [])])
async def test_a_refused_upload(cause: str, apps: list[str]) -> None:
    """A pause of the key is probed by a listed app; one of uploads alone ends by itself."""
    probed = Probed(404)
    probed.refuse(cause, Uploads())
    await probed.resumed()

    assert probed.apps == apps


async def test_probes_end_with_the_application() -> None:
    """No task is left behind."""
    probed = Probed(403)
    probed.refuse()
    await until(lambda: bool(probed.apps))
    await probed.probe.aclose()

    assert probed.account.pauses


async def test_each_key_is_probed_by_itself() -> None:
    """With its own key, under a lease of its own that does not show the key."""
    probed = Probed(403, 404)
    probed.refuse(alias="b")
    await probed.resumed()
    probed.refuse()
    await probed.resumed()

    assert probed.aliases == ["b", "b", ""]
    assert len(set(probed.lease.names)) == 2
    assert not any("secret" in name for name in probed.lease.names)
