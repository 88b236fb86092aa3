from __future__ import annotations

from dataclasses import dataclass

import pytest

from proxy.errors import ServicePaused
from proxy.upstream.account.state import KEY, Account, Pause


@dataclass(frozen=True)
class Called:
    """Target of a call."""

    endpoint: str
    app: str


DEV, OTHER = Called("fal-ai/flux/dev", "fal-ai/flux"), Called("fal-ai/wizper", "fal-ai/wizper")


class Reported:
    """An account, the changes it reported and the pauses it began."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str, str]] = []
        self.begun: list[Pause] = []
        self.account = Account(report=lambda state, pause, _: self.changes.append((state, pause.cause, pause.scope)))
        self.account.on_pause = self.begun.append


def test_a_locked_account_pauses_every_endpoint() -> None:
    """Until it is resumed; the change is reported once, however many calls are refused."""
    reported = Reported()
    account = reported.account
    for _ in range(3):
        account.refused(ServicePaused(retry_after=20, cause="locked", reason="User is locked"), DEV)

    for target in (DEV, OTHER):
        with pytest.raises(ServicePaused) as refused:
            account.check(target)
        assert (refused.value.error_type, refused.value.cause) == ("service_paused", None)
    assert account.key_cause == "locked"
    assert reported.begun == [Pause(KEY, "locked", "fal-ai/flux")]

    account.resume(reported.begun[0], "fal accepts the key")
    account.check(DEV)
    assert reported.changes == [("paused", "locked", KEY), ("resumed", "locked", KEY)]


def test_no_access_pauses_one_endpoint() -> None:
    """Others go on, and the key counts as good."""
    account = Reported().account
    account.refused(ServicePaused(retry_after=20, cause="endpoint"), DEV)

    with pytest.raises(ServicePaused):
        account.check(DEV)
    account.check(OTHER)
    assert account.key_cause is None


def test_our_own_refusal_begins_no_pause() -> None:
    """Only an answer of fal's has a cause."""
    account = Reported().account
    account.refused(ServicePaused(retry_after=20), DEV)

    account.check(DEV)
