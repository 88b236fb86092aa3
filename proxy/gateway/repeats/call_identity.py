"""Identity of a call, by which a repeat is known: its Idempotency-Key, or a fingerprint. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import partial

from proxy.auth.authorization import Grant
from proxy.billing.ledger.interface import CallNote, KeyClaim
from proxy.errors import BadRequest
from proxy.fal_api.operations import Action
from proxy.gateway.admission import Admitted
from proxy.http.request import Request

_KEY = re.compile(rb"[!-~]{1,128}")
_RUNS = frozenset({Action.RUN, Action.RUN_STREAM})


@dataclass(frozen=True, slots=True)
class IdempotencySettings:
    """Settings of repeats. Times in seconds.

    *ttl*: how long an answer is stored. *hold* and *run_hold*: after this an unanswered call is unknown. *wait* and
    *run_wait*: how long a repeat waits for the answer of a call under way. *rejoin*: how long a call whose caller was
    lost can be joined. *max_answer*: bytes of the largest answer of a run that is stored.
    """

    ttl: float = 86_400.0
    hold: float = 60.0
    run_hold: float = 150.0
    wait: float = 30.0
    run_wait: float = 120.0
    rejoin: float = 120.0
    max_answer: int = 1024 * 1024

    def wait_for(self, action: Action) -> float:
        """Returns how long a repeat of *action* waits."""
        return self.run_wait if action in _RUNS else self.wait


def key_claim(key: bytes, grant: Grant, admitted: Admitted, settings: IdempotencySettings) -> KeyClaim:
    """Returns the claim of an Idempotency-Key, which is each caller's own for each endpoint and action.

    Raises BadRequest where it is malformed.
    """
    if _KEY.fullmatch(key) is None:
        raise BadRequest("The header idempotency-key takes 1 to 128 visible ASCII characters", error_type="bad_header")
    payload, target = admitted.payload, grant.target
    scope = _digest(grant.caller.key.encode(), payload.endpoint.encode(), target.action.encode(), key)
    # The digest of digests, as `_digest` makes it.
    body = hashlib.sha256(payload.digest() + hashlib.sha256(target.query.encode()).digest()).hexdigest()
    hold = settings.run_hold if target.action in _RUNS else settings.hold
    # Forgotten while its call is under way, a key would let a second one through.
    return KeyClaim(scope, body, ttl=max(settings.ttl, hold), hold=hold)


def call_note(request: Request, grant: Grant, admitted: Admitted, settings: IdempotencySettings) -> CallNote | None:
    """Returns the note of a call without a key, None where it cannot be joined.

    Only our own connection class reports the end of a caller's connection, and a stream is never joined.
    """
    if request.exchange is None or settings.rejoin <= 0 or grant.target.action is Action.RUN_STREAM:
        return None
    return CallNote(partial(_fingerprint, request.method, grant, admitted), settings.rejoin)


def _fingerprint(method: str, grant: Grant, admitted: Admitted) -> str:
    target = grant.target
    # None of the parts before the last two has a line end, and the digest of the payload has one length.
    identity = f"{grant.caller.key}\n{method}\n{target.endpoint}\n{target.action}\n{target.query}\n"
    options = repr(sorted(admitted.options)) if admitted.options else ""
    return hashlib.sha256(identity.encode() + admitted.payload.digest() + options.encode()).hexdigest()


def _digest(*parts: bytes) -> str:
    # Each part's own digest first: no part can run into the next.
    return hashlib.sha256(b"".join([hashlib.sha256(part).digest() for part in parts])).hexdigest()
