"""Who calls: session tokens (JWT, RFC 7519) of the configured issuers, verified once and remembered by their digest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType

from proxy.auth.jws import MAX_TOKEN, Jws, parse
from proxy.auth.keys import HMAC, VerificationKey
from proxy.auth.subjects import caller_key, subject_of
from proxy.errors import BadRequest, Unauthenticated
from proxy.strict_json import Json

MAX_LEEWAY = 120.0  # seconds; more is a longer session, not a clock that is off

_MAX_DATE = 2**53
_SCHEMES = frozenset({b"bearer", b"key"})  # RFC 6750; fal's own, which its clients send for `credentials`


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: identity is the pair (issuer, subject), never the subject alone (RFC 7519, OIDC Core 5.7).

    *key* names the pair in every store, as 64 hexadecimal digits. *expires* is in seconds since the epoch. *claims*
    are the verified ones that are scalars or lists of strings (as tuples); a nested one is left out.
    """

    issuer: str
    subject: str
    key: str
    scopes: frozenset[str]
    expires: float
    claims: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who may vouch for callers, and how. Raises ValueError where the parts do not fit together.

    *leeway* (clocks that differ) and *max_lifetime* are in seconds; None in *types* admits a token without `typ`.
    """

    issuer: str
    audience: str
    keys: tuple[VerificationKey, ...]
    leeway: float = 30.0
    max_lifetime: float = 86_400.0
    types: tuple[str | None, ...] = ("jwt", "at+jwt", None)
    scope_claim: str = "scope"

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience or not self.keys:
            raise ValueError("an issuer needs a name, an audience and a key")
        if not 0 <= self.leeway <= MAX_LEEWAY:
            raise ValueError(f"leeway must be 0 to {MAX_LEEWAY:g} seconds")
        if not self.max_lifetime > 0:
            raise ValueError("max_lifetime must be more than 0 seconds")
        kids = {key.kid for key in self.keys}
        if len(self.keys) > 1 and (None in kids or len(kids) < len(self.keys)):
            raise ValueError("each of several keys needs a kid of its own")
        if len({key.algorithm == HMAC for key in self.keys}) > 1:
            raise ValueError(f"{HMAC} and public keys cannot serve one issuer (RFC 8725 section 3.1)")

    def key_for(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The one key that may verify such a token. A single key needs no kid, on either side."""
        alone = len(self.keys) == 1
        for key in self.keys:
            if (key.kid == kid or (alone and None in (key.kid, kid))) and key.algorithm == algorithm:
                return key
        return None


@dataclass(frozen=True, slots=True)
class _Session:
    """A verified token: from *starts* until *expires* its digest stands for *caller*."""

    caller: Caller
    starts: float
    expires: float


class Authenticator:
    """*clock* gives seconds since the epoch. A new configuration takes a new Authenticator, and so an empty cache."""

    def __init__(self, issuers: Iterable[Issuer], *, clock: Callable[[], float], cache_size: int = 10_000) -> None:
        listed = tuple(issuers)
        self._issuers = {issuer.issuer: issuer for issuer in listed}
        if len(self._issuers) < len(listed):
            raise ValueError("two issuers have the same name")
        if cache_size < 1:
            raise ValueError("cache_size must be at least 1")
        self._clock = clock
        self._cache_size = cache_size
        # Ordered for its O(1) popitem(last=False): the first key of a plain dict is found past all those deleted.
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def identify(
        self, headers: Sequence[tuple[bytes, bytes]], *, before_verifying: Callable[[], None] = lambda: None
    ) -> Caller:
        """As `holder`, of *headers* with names in lower case. Raises BadRequest, too, where there are several."""
        return self.holder(_authorization(headers), before_verifying=before_verifying)

    def holder(self, authorization: bytes | None, *, before_verifying: Callable[[], None]) -> Caller:
        """The caller of that field's value.

        *before_verifying* is called where a token is not known yet, and may raise to spare its cryptography. Raises
        Unauthenticated where there is none or its token does not hold.
        """
        token = _token(authorization)
        digest = sha256(token).digest()
        session = self._sessions.get(digest)
        now = self._clock()
        if session is not None and session.starts <= now < session.expires:
            return session.caller
        before_verifying()
        session = self._verify(token, now)
        # Within the leeway after its end a token still holds, but is verified each time and takes nobody's place.
        if now < session.expires:
            self._remember(digest, session)
        return session.caller

    def holds_until(self, caller: Caller) -> float:
        """When *caller*'s session is over, its issuer's leeway included; seconds since the epoch."""
        return caller.expires + self._issuers[caller.issuer].leeway

    def _verify(self, token: bytes, now: float) -> _Session:
        if b":" in token:
            raise Unauthenticated(reason="a fal key where a session token belongs")
        jws = parse(token)
        name = jws.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise Unauthenticated(reason="iss is not a configured issuer")
        if jws.type not in issuer.types:
            raise Unauthenticated(reason="typ is not one that is accepted here")
        _check_signature(issuer, jws)
        return _session(issuer, jws.claims, now)

    def _remember(self, digest: bytes, session: _Session) -> None:
        if len(self._sessions) >= self._cache_size:
            self._sessions.popitem(last=False)
        self._sessions[digest] = session


def _authorization(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) > 1:
        raise BadRequest("The Authorization header is given twice", error_type="bad_header")
    return values[0] if values else None


def _token(given: bytes | None) -> bytes:
    if given is None:
        raise Unauthenticated(reason="no Authorization header")
    if len(given) > MAX_TOKEN:
        raise Unauthenticated(reason="the Authorization header is too long")
    scheme, _, token = given.partition(b" ")
    if scheme.lower() not in _SCHEMES:
        raise Unauthenticated(reason="the scheme is neither Bearer nor Key")
    return token


def _check_signature(issuer: Issuer, jws: Jws) -> None:
    key = issuer.key_for(jws.kid, jws.algorithm)
    # Where no key fits, one verifies all the same: an unknown kid and a bad signature take one path and one time.
    genuine = (key or issuer.keys[0]).verify(jws.signing_input, jws.signature)
    if key is None:
        raise Unauthenticated(reason="no key of the issuer has this kid and alg")
    if not genuine:
        raise Unauthenticated(reason="the signature does not verify")


def _session(issuer: Issuer, claims: Mapping[str, Json], now: float) -> _Session:
    """RFC 7519 section 4.1 with `exp`, `aud` and `sub` required. Raises Unauthenticated."""
    expires = _date(claims, "exp")
    if expires + issuer.leeway <= now:
        raise Unauthenticated(reason="the token has expired")
    if expires - now > issuer.max_lifetime:
        raise Unauthenticated(reason="exp is further away than max_lifetime")
    starts = max((_date(claims, name) for name in ("nbf", "iat") if name in claims), default=0.0) - issuer.leeway
    if starts > now:
        raise Unauthenticated(reason="nbf or iat lies in the future")
    audience = claims.get("aud")
    if issuer.audience not in (_strings(audience) or (audience,)):
        raise Unauthenticated(reason="aud does not name this service")
    subject = subject_of(claims)
    caller = Caller(
        issuer=issuer.issuer,
        subject=subject,
        key=caller_key(issuer.issuer, subject),
        scopes=_scopes(claims.get(issuer.scope_claim, "")),
        expires=expires,
        claims=MappingProxyType({name: kept for name, value in claims.items() if (kept := _plain(value)) is not None}),
    )
    return _Session(caller, starts, expires)


def _date(claims: Mapping[str, Json], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_DATE:
        raise Unauthenticated(reason=f"{name} is not a NumericDate")
    return float(value)


def _scopes(value: Json) -> frozenset[str]:
    """Space-separated (RFC 8693 section 4.2) or a list, as some issuers write them."""
    scopes = value.split(" ") if isinstance(value, str) else _strings(value)
    if scopes is None:
        raise Unauthenticated(reason="the scope claim is neither a string nor a list of strings")
    return frozenset(scopes) - {""}


def _strings(value: Json) -> tuple[str, ...] | None:
    """*value*, if it is a list of strings and nothing else."""
    if not isinstance(value, list):
        return None
    strings = tuple(item for item in value if isinstance(item, str))
    return strings if len(strings) == len(value) else None


def _plain(value: Json) -> object:
    if isinstance(value, list):
        return _strings(value)
    return None if isinstance(value, dict) else value
