from __future__ import annotations

import pytest

from proxy.upstream.account.refusal import AccountRefusal, account_refusal, key_refusal

LOCKED, BAD_KEY, ENDPOINT = AccountRefusal.LOCKED, AccountRefusal.BAD_KEY, AccountRefusal.ENDPOINT

# Status and body of an answer; what it refuses where no model can have written it, and where one may have.
BODIES: dict[str, tuple[int, bytes, AccountRefusal | None, AccountRefusal | None]] = {
    "locked": (403, b'{"detail":"User is locked. Reason: Exhausted balance. Top up."}', LOCKED, LOCKED),
    "top-up": (403, b'{"detail":"User is locked. Reason: TOP_UP."}', LOCKED, LOCKED),
    "no-user": (401, b'{"detail":"No user found for Key ID and Secret"}', BAD_KEY, BAD_KEY),
    "invalid": (401, b"invalid key credentials", BAD_KEY, BAD_KEY),
    "invalid-json": (401, b'"invalid key credentials"', BAD_KEY, BAD_KEY),
    "malformed": (401, b'{"detail":"Invalid Key Authorization header format."}', BAD_KEY, BAD_KEY),
    "typed": (403, b'{"detail":"User is locked.","error_type":"forbidden"}', LOCKED, LOCKED),
    "no-access": (401, b'{"detail":"Cannot access application \\"x\\""}', ENDPOINT, None),
    "policy": (403, b'{"detail":[{"loc":["body"],"msg":"User is locked","type":"x"}]}', None, None),
    "quoted": (403, b'{"detail":"They said: User is locked"}', ENDPOINT, None),
    "model": (403, b'{"detail":"User is locked","images":[]}', None, None),
    "page": (403, b"<html>User is locked</html>", None, None),
    "empty": (401, b"", None, None),
    "huge": (403, b'{"detail":"User is locked' + b"." * 5000 + b'"}', None, None),
    "other-status": (400, b'{"detail":"User is locked."}', None, None),
}


@pytest.mark.parametrize(("status", "body", "refusal", "from_a_model"), BODIES.values(), ids=BODIES)
def test_a_refusal_is_known_by_its_body(
    status: int, body: bytes, refusal: AccountRefusal | None, from_a_model: AccountRefusal | None
) -> None:
    """Locked, bad key and no access are distinct; a model's own 401 or 403 is none of them."""
    assert account_refusal(status, body) is refusal
    assert key_refusal(status, body) is from_a_model
