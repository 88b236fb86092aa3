"""Guest sessions: their tokens, their proofs, and the rotation of their keys."""

from __future__ import annotations

import pytest
from support.identities import Identifier
from support.sandbox import Clock

from proxy.auth.sessions.guest_sessions import (
    GUEST_COOKIE,
    MAX_PROOF_AGE,
    GuestSessions,
    ended_cookie,
    guest_issuer,
    guest_keys,
    make_proof,
)
from proxy.errors import Forbidden, Unauthenticated
from proxy.strict_json import Json

NOW = 1_800_000_000
OLD, NEW = b"handle-secret-of-the-tests-000001", b"handle-secret-of-the-tests-000002"
PROOF = b"proof-of-the-tests-0123456789abcdef"
NONCE = "n" * 16


def guests(clock: Clock, *secrets: bytes, proof: bytes | None = None) -> GuestSessions:
    keys = guest_keys(secrets or (OLD,))
    return GuestSessions(keys, lifetime=600, claims={"plan": "guest"}, clock=clock, proof_secret=proof)


def identifier(clock: Clock, *secrets: bytes) -> Identifier:
    return Identifier([guest_issuer(guest_keys(secrets or (OLD,)), 600)], clock=clock)


def test_a_guest_is_a_caller() -> None:
    """Each guest is another caller, with the configured claims, for the configured time."""
    clock = Clock(NOW)
    first, second = (guests(clock).create() for _ in range(2))
    callers = [
        identifier(clock).identify([(b"authorization", b"Bearer " + session.token.encode())])
        for session in (first, second)
    ]

    assert callers[0].claims["plan"] == "guest"
    assert callers[0].expires == NOW + 600
    assert len({caller.key for caller in callers}) == 2
    assert first.cookie.decode() == (
        f"{GUEST_COOKIE}={first.token}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"
    )
    assert b"Max-Age=0" in ended_cookie()


def test_the_end_of_a_guest() -> None:
    """A guest's token ends without leeway: the gateway's own clock made it."""
    clock = Clock(NOW)
    session = guests(clock).create()
    clock.forward(600)

    with pytest.raises(Unauthenticated, match="expired"):
        identifier(clock).identify([(b"authorization", b"Bearer " + session.token.encode())])


def test_rotation_of_the_handle_secrets() -> None:
    """The first secret signs and all verify; a secret that is gone verifies nothing."""
    clock = Clock(NOW)
    token = b"Bearer " + guests(clock, OLD).create().token.encode()

    assert identifier(clock, NEW, OLD).identify([(b"authorization", token)]).subject.startswith("guest-")
    with pytest.raises(Unauthenticated, match="signature"):
        identifier(clock, NEW).identify([(b"authorization", token)])


def test_a_proof_is_taken_once() -> None:
    """The app's backend decides who may be a guest; a proof that was seen gives no second one."""
    made = guests(Clock(NOW), proof=PROOF)
    proof = make_proof(PROOF, NOW + 60, NONCE).decode()
    made.create(proof)

    with pytest.raises(Forbidden, match="used before"):
        made.create(proof)


REFUSED: dict[str, Json] = {
    "none": None,
    "number": 1,
    "text": "x",
    "other-secret": make_proof(b"x" * 32, NOW + 60, NONCE).decode(),
    "expired": make_proof(PROOF, NOW - 1, NONCE).decode(),
    "too-long": make_proof(PROOF, NOW + MAX_PROOF_AGE + 1, NONCE).decode(),
    "changed": make_proof(PROOF, NOW + 60, NONCE).decode().replace(str(NOW + 60), str(NOW + 61)),
    "short-nonce": make_proof(PROOF, NOW + 60, "n").decode(),
}


@pytest.mark.parametrize("proof", REFUSED.values(), ids=REFUSED)
def test_proofs_that_are_none(proof: Json) -> None:
    """A proof that is missing, forged, expired or good for too long gives no session."""
    with pytest.raises(Forbidden) as refused:
        guests(Clock(NOW), proof=PROOF).create(proof)

    assert refused.value.error_type == "guest_proof_required"
