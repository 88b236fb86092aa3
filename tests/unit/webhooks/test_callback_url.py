from __future__ import annotations

from typing import NoReturn
from urllib.parse import parse_qs

from support.in_process_gateway import ENDPOINT, ISSUER, JOB, small_components
from support.sandbox import Clock

from proxy.auth.authorization import Authorization, Grant
from proxy.auth.caller import Caller, caller_key
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.errors import StoreAway
from proxy.fal_api.operations import resolve
from proxy.webhooks.callback_seal import CallbackCipher, CallbackContext
from proxy.webhooks.callback_url import CallbackUrls
from proxy.webhooks.delivery_state import DeliveryState

SEALS = CallbackCipher([b"a secret of handles, thirty-two by"])
PUBLIC = "https://gate.example.com/api/fal"


class Away(SqliteLedger):
    async def claim_key(self, *_: object, **__: object) -> NoReturn:
        raise StoreAway


def urls(ledger: SqliteLedger) -> CallbackUrls:
    claims = DeliveryState(ledger, keep=86_400, hold=20, clock=Clock(), away=lambda: None)
    return CallbackUrls(SEALS, claims, clock=Clock(1_800_000_000.5))


def grant() -> Grant:
    """Returns alice's grant of a submit."""
    parts = small_components()
    caller = Caller(ISSUER, "alice", caller_key(ISSUER, "alice"), frozenset(), 2e9, {})
    target = resolve("POST", f"/queue/{ENDPOINT}".encode(), b"", None)
    return Authorization(parts.listings, parts.handles).authorize(caller, target)


def test_the_parameter_of_a_submit() -> None:
    """One parameter, encoded, whose URL leads here and opens to the submit it was made for."""
    parameters = parse_qs(urls(SqliteLedger(":memory:")).query(PUBLIC, "ticket-1", grant()), strict_parsing=True)
    (url,) = parameters.pop("fal_webhook")
    base, _, seal = url.rpartition("/")

    assert (base, parameters) == (f"{PUBLIC}/webhooks/fal", {})
    assert SEALS.decrypt(seal.encode()) == CallbackContext(ISSUER, "alice", ENDPOINT, "ticket-1", 1_800_000_000)


async def test_a_job_that_cannot_be_written_down() -> None:
    """A ledger that is away fails no accepted submit; its webhook then has the encrypted URL alone."""
    assert await urls(SqliteLedger(":memory:")).bind("ticket-1", JOB) is True
    assert await urls(Away(":memory:")).bind("ticket-1", JOB) is False
