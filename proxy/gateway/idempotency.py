"""Idempotency-Key on submits: one key, one job, whatever the client repeats (draft-ietf-httpapi-idempotency-key)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from uuid import uuid4

import orjson

from proxy.auth.authorization import Grant
from proxy.billing.ledger.interface import KeyState, Ledger, StoredAnswer
from proxy.errors import BadRequest, FieldError, OutcomeUnknown, Refusal, StoreAway, ValidationFailed
from proxy.http.response import Response, error_response
from proxy.payload.body import Payload

_KEY = re.compile(rb"[!-~]{1,128}")
# A twin looks again this often; the first one's answer takes some hundred milliseconds.
_LOOK_AGAIN = 0.05
# What only the first answer could say.
_OF_ITS_MOMENT = frozenset({b"ratelimit", b"ratelimit-policy"})
_REPLAYED = (b"idempotent-replayed", b"true")


@dataclass(frozen=True, slots=True)
class IdempotencySettings:
    """Seconds: an answer is kept *ttl*, one that stays silent is unknown after *hold*, a twin waits *patience*."""

    ttl: float = 86_400.0
    hold: float = 60.0
    wait_timeout: float = 30.0


class IdempotentRequest:
    """`async with attempt:` round the work under a key. *answer* is there where the work was done before.

    A refusal frees the key, an accepted answer (`keep`) and an unknown outcome stay under it. What else ends the block,
    a defect or a stop, says nothing, and becomes unknown.
    """

    def __init__(self, replays: IdempotencyKeys, key: str | None, *, answer: Response | None = None) -> None:
        self.answer = answer
        self._replays = replays
        self._key = key
        self._owner = "" if key is None else uuid4().hex
        self._kept: Response | None = None

    @property
    def owner(self) -> str:
        return self._owner

    def keep(self, answer: Response) -> None:
        self._kept = answer

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._key is None:
            return
        if isinstance(error, OutcomeUnknown):
            await self._replays.store(self._key, self._owner, error_response(error))
        elif self._kept is not None and self._kept.status < 300:
            await self._replays.store(self._key, self._owner, self._kept)
        elif error is None or isinstance(error, Refusal):
            await self._replays.free(self._key, self._owner)


class IdempotencyKeys:
    """*away* is told where an outcome could not be written: its key then becomes unknown, which no one replays."""

    def __init__(
        self, ledger: Ledger, keeping: IdempotencySettings, *, clock: Callable[[], float], away: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._keeping = keeping
        self._clock = clock
        self._away = away

    async def claim(self, key: bytes | None, grant: Grant, payload: Payload) -> IdempotentRequest:
        """Waits for a twin under way. *key* is the header's value.

        Raises BadRequest (malformed key), ValidationFailed (used with another body), OutcomeUnknown and StoreAway.
        """
        if key is None:
            return IdempotentRequest(self, None)
        if _KEY.fullmatch(key) is None:
            raise BadRequest(
                "The header idempotency-key takes 1 to 128 visible ASCII characters", error_type="bad_header"
            )
        scope = _digest(grant.caller.key.encode(), payload.endpoint.encode(), key)
        body = _digest(payload.raw, grant.target.query.encode())
        attempt = IdempotentRequest(self, scope)
        deadline = self._clock() + self._keeping.wait_timeout
        while (said := await self._ask(scope, body, attempt.owner)) is KeyState.BUSY:
            if self._clock() >= deadline:
                raise OutcomeUnknown(reason="the first request under this key is still under way")
            await asyncio.sleep(_LOOK_AGAIN)
        match said:
            case StoredAnswer(answer):
                return IdempotentRequest(self, None, answer=_restored(answer))
            case KeyState.MISMATCH:
                raise ValidationFailed([_REUSED])
            case KeyState.UNKNOWN:
                raise OutcomeUnknown(reason="the first request under this key never said what became of it")
            case _:
                return attempt

    async def store(self, key: str, owner: str, answer: Response) -> None:
        try:
            await self._ledger.store_answer(key, _kept(answer), owner=owner, now=self._clock(), ttl=self._keeping.ttl)
        except StoreAway:
            self._away()

    async def free(self, key: str, owner: str) -> None:
        try:
            await self._ledger.free_key(key, owner=owner)
        except StoreAway:
            self._away()

    async def _ask(self, scope: str, body: str, owner: str) -> KeyState | StoredAnswer:
        hold = self._keeping.hold
        # Forgotten while its submit is under way, a key would let a second one through.
        ttl = max(self._keeping.ttl, hold)
        return await self._ledger.claim_key(scope, body, owner=owner, now=self._clock(), ttl=ttl, hold=hold)


_REUSED: FieldError = {
    "loc": ["header", "idempotency-key"],
    "msg": "This key was used before with another request",
    "type": "idempotency_key_reused",
}


def _digest(*parts: bytes) -> str:
    # Each part's own digest first: no part can run into the next.
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _kept(answer: Response) -> bytes:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return orjson.dumps([answer.status, headers, answer.body.decode("utf-8")])


def _restored(kept: bytes) -> Response:
    status, headers, body = orjson.loads(kept)
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    told = [field for field in fields if field[0] not in _OF_ITS_MOMENT]
    return Response(status, body.encode("utf-8"), (*told, _REPLAYED))
