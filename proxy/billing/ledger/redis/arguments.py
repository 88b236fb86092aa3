"""Arguments of the scripts, from the values of the interface. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import orjson

from proxy.billing.ledger.interface import Charge, InFlightSlot, ReservationRequest
from proxy.billing.ledger.jobs import Credit

CLOCK_SKEW = 3_600.0  # seconds that clocks may disagree, or be set back, before a key is dropped too early
UNSWEPT_TTL = 7 * 86_400.0  # seconds that a reservation past its ttl waits for a sweep before it is forgotten
ENDED_TTL = 7 * 86_400.0  # seconds that an ended call stays
JOINED_SECONDS = 3_600.0  # that a joined call stays known while its joiner waits for the answer
MAX_SAFE_INTEGER = 2**53 - 1  # up to here sums are exact; a larger limit or price is taken for this

Args = list[bytes | str | int]


def milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def check_request(request: ReservationRequest, now: float) -> None:
    """Raises ValueError for a negative amount, an account twice, and a time that is not a number."""
    if request.amount < 0:
        raise ValueError(f"cannot reserve {request.amount}")
    if not math.isfinite(now):
        raise ValueError(f"cannot reserve at {now}")
    accounts = [charge.account for charge in request.charges]
    if len(set(accounts)) < len(accounts):
        raise ValueError("a request charges one account twice")


def credit_text(credit: Credit) -> str:
    """Returns the stored form of a credit."""
    expires = "" if credit.expires is None else repr(credit.expires)
    return f"{credit.amount} {credit.left} {expires}"


def reserve_args(
    call_id: str,
    request: ReservationRequest,
    *,
    now: float,
    epoch: str,
    worker: str,
    ended: Iterable[str],
    verdicts: Mapping[str, bool],
    resumed: bool,
) -> Args:
    """Returns the arguments of RESERVE.

    *verdicts*: whether each of these workers is alive. *resumed*: the reply to the same step was lost before.
    """
    call_ms = milliseconds(max([request.ttl, *(slot.lease for slot in request.slots)]) + UNSWEPT_TTL)
    ended = list(ended)
    alive = [name for name, is_alive in verdicts.items() if is_alive]
    dead = [name for name, is_alive in verdicts.items() if not is_alive]
    args: Args = [call_id, repr(now), epoch, worker, request.caller, request.endpoint]
    args += [min(request.amount, MAX_SAFE_INTEGER), datetime.fromtimestamp(now, UTC).date().isoformat()]
    args += [repr(now + request.ttl), call_ms, _slots_json(request, now), milliseconds(ENDED_TTL)]
    args += [*_claim_args(request, now), *_note_args(request, now)]
    args += [int(resumed), len(request.charges), len(request.slots), len(ended), len(alive), len(dead)]
    for charge in request.charges:
        args += _charge_args(charge, now)
    for slot in request.slots:
        args += _slot_args(slot, request, now)
    return [*args, *ended, *alive, *dead]


def _claim_args(request: ReservationRequest, now: float) -> Args:
    claim = request.claim
    if claim is None:
        return [""] * 5
    times = [repr(now + claim.hold), repr(now + claim.ttl)]
    return [claim.key, claim.body_hash, *times, milliseconds(claim.ttl + CLOCK_SKEW)]


def _note_args(request: ReservationRequest, now: float) -> Args:
    note = request.note
    # A call with a key is found by its key.
    if note is None or note.rejoin_seconds <= 0 or request.claim is not None:
        return [""] * 5
    # A worker that died leaves its notes open. They can be joined for as long as the call could have run.
    seconds = (request.call_seconds or request.ttl) + note.rejoin_seconds
    times = [repr(now + seconds), repr(now + note.rejoin_seconds + JOINED_SECONDS)]
    return [note.fingerprint, repr(note.rejoin_seconds), *times, milliseconds(seconds + CLOCK_SKEW)]


def _charge_args(charge: Charge, now: float) -> Args:
    lifetime = math.isinf(charge.ttl)
    return [
        charge.account,
        charge.current,
        charge.oldest,
        min(charge.limit, MAX_SAFE_INTEGER),
        int(charge.enforce),
        "" if lifetime else milliseconds(charge.ttl + CLOCK_SKEW),
        0 if lifetime else math.ceil(now + charge.ttl),
        " ".join(map(str, charge.thresholds)),
    ]


def _slot_args(slot: InFlightSlot, request: ReservationRequest, now: float) -> Args:
    ends = repr(now + _first_lease(slot, request))
    return [slot.account, slot.limit, int(slot.enforce), ends, milliseconds(slot.lease + CLOCK_SKEW)]


def _first_lease(slot: InFlightSlot, request: ReservationRequest) -> float:
    """Seconds that a slot lasts until its call is accepted."""
    return min(slot.lease, request.call_seconds or slot.lease)


def _slots_json(request: ReservationRequest, now: float) -> bytes:
    return orjson.dumps([[slot.account, now + _first_lease(slot, request), slot.lease] for slot in request.slots])
