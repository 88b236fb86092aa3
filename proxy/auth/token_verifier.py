"""Verifier of session tokens (JWT, RFC 7519), with a cache of the verified ones by their digest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from proxy.auth.caller import Caller
from proxy.auth.keys.algorithms import HMAC
from proxy.auth.keys.key_source import KeySource, matching_keys
from proxy.auth.sessions.issuer import Issuer, parse_times
from proxy.auth.sessions.jws import Jws, malformed, parse_jws
from proxy.errors import Unauthenticated


@dataclass(slots=True)
class _Session:
    """Verified token: its digest stands for *caller* from *starts* until the caller's session expires.

    It ends earlier where the keys are no longer those of *version*: the one that signed it may be gone.
    """

    caller: Final[Caller]
    starts: Final[float]
    keys: Final[KeySource]
    version: Final[int]


class Credential(NamedTuple):
    """Token of a request.

    *header* is the platform's field that carried it, None for Authorization and cookie. *cache_key* is the digest of
    the whole token (CVE-2026-35030) and of that field, which is only good for the issuers that are configured for it.
    """

    token: bytes
    header: bytes | None
    cache_key: bytes


def build_credential(token: bytes, header: bytes | None = None) -> Credential:
    """Returns the credential with *token*, from the platform's field *header* or none."""
    # No token holds a NUL.
    digest = sha256(token if header is None else header + b"\0" + token).digest()
    return Credential(token, header, digest)


@dataclass(slots=True)
class ParsedToken:
    """Token that is well formed and of a configured issuer, not verified yet.

    *issuers* are that issuer's tables.
    """

    digest: Final[bytes]
    cache_key: Final[bytes]
    jws: Final[Jws]
    issuers: Final[tuple[Issuer, ...]]


class TokenVerifier:
    """Verifier of the tokens of *issuers*.

    Several of them may have one name, with other audiences or keys.

    *clock* returns seconds since the epoch. *is_revoked* is called for every caller, also a cached one. Raises
    ValueError where the tables of one issuer contradict each other. A new configuration takes a new verifier.
    """

    def __init__(
        self,
        issuers: Iterable[Issuer],
        *,
        clock: Callable[[], float],
        cache_size: int = 10_000,
        is_revoked: Callable[[Caller], bool] = lambda caller: False,
    ) -> None:
        self._exact: dict[str, tuple[Issuer, ...]] = {}
        self._patterns: list[Issuer] = []
        for issuer in issuers:
            if issuer.is_pattern:
                self._patterns.append(issuer)
            else:
                self._exact[issuer.issuer] = (*self._exact.get(issuer.issuer, ()), issuer)
        for tables in self._exact.values():
            check_tables(tables)
        if cache_size < 1:
            raise ValueError("cache_size must be at least 1")
        self._clock = clock
        self._cache_size = cache_size
        self._is_revoked = is_revoked
        # Ordered for its O(1) popitem(last=False): a plain dict searches past all deleted entries.
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def cached(self, cache_key: bytes) -> Caller | None:
        """Returns the caller of a credential that was verified before and still holds.

        Raises Unauthenticated if revoked.
        """
        session = self._sessions.get(cache_key)
        if session is None:
            return None
        if self._is_revoked(session.caller):
            del self._sessions[cache_key]
            raise _revoked()
        now = self._clock()
        if now >= session.caller.expires or session.version != session.keys.version:
            del self._sessions[cache_key]
            return None
        return session.caller if session.starts <= now else None

    def parse(self, credential: Credential) -> ParsedToken:
        """Parses the token of *credential* without cryptography.

        Raises Unauthenticated for a malformed token and for an issuer that is not configured for its field.
        """
        token, header, cache_key = credential
        if b":" in token:
            raise malformed("a fal key where a session token belongs")
        jws = parse_jws(token)
        name = jws.claims.get("iss")
        issuers = self._exact.get(name, ()) if isinstance(name, str) else ()
        issuers = issuers or tuple(issuer for issuer in self._patterns if issuer.matches(jws.claims))
        if header is not None:
            issuers = tuple(issuer for issuer in issuers if issuer.header == header)
        if not issuers:
            raise malformed("iss is not a configured issuer")
        return ParsedToken(cache_key if header is None else sha256(token).digest(), cache_key, jws, issuers)

    async def verify(self, token: ParsedToken) -> Caller:
        """Verifies *token* by the first table of its issuer that takes it, and caches it.

        Raises Unauthenticated where no table takes it, and Unavailable where the keys cannot be had.
        """
        refusal: Unauthenticated | None = None
        for issuer in token.issuers:
            try:
                session = await self._verify(issuer, token)
            except Unauthenticated as error:
                # The refusal of a token with a good signature comes before that of a table with other keys.
                refusal = error if refusal is None or refusal.counts else refusal
                continue
            if self._is_revoked(session.caller):
                raise _revoked()
            # Within the leeway after its end a token still holds, but is verified each time and takes no room.
            if self._clock() < session.caller.expires:
                self._remember(token.cache_key, session)
            return session.caller
        raise refusal or malformed("iss is not a configured issuer")

    async def _verify(self, issuer: Issuer, token: ParsedToken) -> _Session:
        jws = token.jws
        if jws.type not in issuer.types:
            raise Unauthenticated(reason="typ is not one that is accepted here")
        version = issuer.keys.version  # read first: keys that change meanwhile have the token verified once more
        await check_signature(issuer, jws)
        times = parse_times(jws.claims)
        issuer.check_time(times, self._clock())
        issuer.check_audience(jws.claims)
        issuer.check_required(jws.claims)
        caller = issuer.caller(jws.claims, times, token.digest)
        return _Session(caller, times.starts - issuer.leeway, issuer.keys, version)

    def _remember(self, digest: bytes, session: _Session) -> None:
        if len(self._sessions) >= self._cache_size:
            self._sessions.popitem(last=False)
        self._sessions[digest] = session


def _revoked() -> Unauthenticated:
    return Unauthenticated(reason="the session is revoked")


async def check_signature(issuer: Issuer, jws: Jws) -> None:
    """Verifies the signature of *jws* with the keys of *issuer*; an unknown kid has them fetched again.

    Raises Unauthenticated. It counts as a failed login, but not for a kid that a provider may be about to publish.
    """
    keys = await issuer.keys.current()
    fitting = matching_keys(keys, jws.kid, jws.algorithm)
    certain = True
    if not fitting and jws.kid is not None:
        certain = await issuer.keys.refresh(jws.kid)
        keys = await issuer.keys.current()
        fitting = matching_keys(keys, jws.kid, jws.algorithm)
    # Where no secret fits, one verifies all the same: an unknown kid and a bad signature take one time. The kids of
    # public keys are public, and a flood of unknown ones should cost little.
    spare = keys[:1] if issuer.keys.shared_secret else ()
    genuine = [key.verify(jws.signing_input, jws.signature) for key in fitting or spare]
    if not fitting:
        raise Unauthenticated(reason="no key of the issuer has this kid and alg", counts=certain)
    if not any(genuine):
        raise Unauthenticated(reason="the signature does not verify", counts=True)


def check_tables(tables: Sequence[Issuer]) -> None:
    """Checks that the *tables* of one issuer agree. Raises ValueError.

    A shared secret beside public keys would invite algorithm confusion (RFC 8725 section 3.1).
    """
    if len({table.subject_claim for table in tables}) > 1:
        raise ValueError(f"the tables of the issuer {tables[0].issuer} must share subject_claim")
    if len({table.keys.shared_secret for table in tables}) > 1:
        raise ValueError(f"{HMAC} and public keys cannot serve one issuer: {tables[0].issuer}")
