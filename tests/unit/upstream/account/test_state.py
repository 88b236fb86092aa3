from __future__ import annotations

from dataclasses import dataclass

import pytest

from proxy.errors import ServicePaused
from proxy.upstream.account.fal_key import FalKey
from proxy.upstream.account.state import KEY, Account, Pause


@dataclass(frozen=True)
class Called:
    """Target of a call."""

    endpoint: str
    app: str


DEV, OTHER = Called("fal-ai/flux/dev", "fal-ai/flux"), Called("fal-ai/wizper", "fal-ai/wizper")


class Reported:
    """An account of *keys*, the changes it reported and the pauses it began."""

    def __init__(self, *keys: FalKey) -> None:
        self.changes: list[tuple[str, str, str]] = []
        self.begun: list[Pause] = []
        self.account = Account(
            keys or [FalKey("id:secret-1")],
            report=lambda state, pause, _: self.changes.append((state, pause.cause, pause.scope)),
        )
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


LOCKED = ServicePaused(retry_after=20, cause="locked", evidence="User is locked")
NO_ACCESS = ServicePaused(retry_after=20, cause="endpoint")


def three_keys() -> Reported:
    return Reported(FalKey("id:secret-1", "", 2), FalKey("id:secret-2", "b"), FalKey("id:secret-3", "old", 0))


def choices(account: Account, target: Called = DEV, count: int = 6) -> list[str]:
    return [account.choose(target) for _ in range(count)]


def test_new_calls_go_to_the_keys_by_weight() -> None:
    """Evenly mixed, and none to a key of weight 0."""
    account = three_keys().account

    assert choices(account) == ["", "b", ""] * 2
    assert account.calls == {"": 4, "b": 2}


def test_a_refused_key_leaves_the_rotation() -> None:
    """All new calls go to the others, which counts as working, until it is resumed."""
    reported = three_keys()
    account = reported.account
    account.refused(LOCKED, DEV, "")

    assert set(choices(account)) == {"b"}
    assert (account.key_cause, account.key_causes) == (None, {"": "locked"})
    account.check(DEV)
    with pytest.raises(ServicePaused):
        account.check_key("", OTHER)

    account.resume(reported.begun[0], "fal accepts the key")
    assert set(choices(account)) == {"", "b"}


def test_only_when_no_key_works_is_the_service_paused() -> None:
    """A key without a share of new calls does not count."""
    account = three_keys().account
    account.refused(LOCKED, DEV, "b")
    account.refused(LOCKED, DEV, "")

    for refusing in (account.check, account.choose):
        with pytest.raises(ServicePaused):
            refusing(DEV)
    assert account.key_cause == "locked"
    account.check_key("old", DEV)


def test_an_endpoint_is_paused_for_each_key() -> None:
    """One account may have access to a model that the other has not."""
    account = three_keys().account
    account.refused(NO_ACCESS, DEV, "")

    assert set(choices(account, DEV)) == {"b"}
    assert set(choices(account, OTHER)) == {"", "b"}
    assert account.key_causes == {}


def test_a_pause_of_another_worker_is_no_refusal_here() -> None:
    """The pause is as one of our own, but is not to be shared again."""
    reported, shared = three_keys(), list[Pause]()
    reported.account.on_refusal = shared.append
    pause = Pause(KEY, "locked", "fal-ai/flux", "b")

    assert reported.account.pause(pause, "another worker's refusal")
    assert not reported.account.pause(pause, "the same again")
    assert (reported.begun, shared) == ([pause], [])
    reported.account.refused(LOCKED, DEV, "")
    assert [one.alias for one in shared] == [""]
