"""Guest sessions: short tokens that the gateway itself gives to anonymous visitors."""

from __future__ import annotations

import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jwt

from proxy.auth.base64url import encode_base64url
from proxy.auth.keys.algorithms import HMAC
from proxy.auth.keys.key_source import StaticKeys
from proxy.auth.keys.verification_key import VerificationKey
from proxy.auth.sessions.issuer import Issuer
from proxy.errors import Forbidden
from proxy.strict_json import Json

GUEST_ISSUER = "urn:fal-auth-proxy:guest"  # reserved: no [[sessions]] table may have it
GUEST_COOKIE = "__Host-fal-guest"
AUDIENCE = "fal-auth-proxy"
MAX_PROOF_AGE = 600  # seconds that a proof may be ahead of its expiry

_DOMAIN = b"fal-auth-proxy guest session 1"
_PROOF = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{16,64})\.([A-Za-z0-9_-]{43})", re.ASCII)
_MAX_USED = 10_000  # proofs


def guest_keys(handle_secrets: Sequence[bytes]) -> tuple[VerificationKey, ...]:
    """Returns the signing keys, derived from the secrets of job handles: the first signs, all verify."""
    derived = (hmac.digest(secret, _DOMAIN, "sha256") for secret in handle_secrets)
    return tuple(VerificationKey(HMAC, None, secret) for secret in derived)


def guest_issuer(keys: tuple[VerificationKey, ...], lifetime: float) -> Issuer:
    """Returns the issuer by which the gateway verifies its own tokens; *lifetime* in seconds."""
    return Issuer(GUEST_ISSUER, (AUDIENCE,), StaticKeys(keys), leeway=0.0, max_lifetime=lifetime + 1)


@dataclass(frozen=True, slots=True)
class GuestSession:
    """Token of one guest, with the Set-Cookie field that carries it; *lifetime* in seconds."""

    token: str
    lifetime: int
    cookie: bytes


class GuestSessions:
    """Maker of guest sessions.

    *claims* are in every token, such as the plan of guests; *clock* returns unix seconds.

    With *proof_secret* a session takes a proof from the app's backend: `<expiry>.<nonce>.<mac>`. The last part is the
    HMAC-SHA256 of the first two under that secret, in base64url. Each process takes a proof once.
    """

    def __init__(
        self,
        keys: tuple[VerificationKey, ...],
        *,
        lifetime: int,
        claims: Mapping[str, Json],
        clock: Callable[[], float],
        proof_secret: bytes | None = None,
    ) -> None:
        self._key = keys[0]
        self._lifetime = lifetime
        self._claims = dict(claims)
        self._clock = clock
        self._proof_secret = proof_secret
        self._used: OrderedDict[str, None] = OrderedDict()

    def create(self, proof: Json = None) -> GuestSession:
        """Returns a session of a new guest. Raises Forbidden where a proof is needed and *proof* is none."""
        if self._proof_secret is not None:
            self._check_proof(proof, self._proof_secret)
        now = int(self._clock())
        claims = {
            **self._claims,
            "iss": GUEST_ISSUER,
            "aud": AUDIENCE,
            "sub": f"guest-{secrets.token_hex(16)}",
            "jti": secrets.token_hex(16),
            "iat": now,
            "exp": now + self._lifetime,
        }
        token = jwt.encode(claims, self._key.material, algorithm=HMAC)  # type: ignore[arg-type]
        return GuestSession(token, self._lifetime, _cookie(token, self._lifetime))

    def _check_proof(self, proof: Json, secret: bytes) -> None:
        match = _PROOF.fullmatch(proof) if isinstance(proof, str) else None
        if match is None:
            raise _refused("the proof is missing or malformed")
        expires, nonce, _ = match.groups()
        if not hmac.compare_digest(make_proof(secret, int(expires), nonce), str(proof).encode("ascii")):
            raise _refused("the proof does not verify")
        if not self._clock() <= int(expires) <= self._clock() + MAX_PROOF_AGE:
            raise _refused("the proof has expired, or is good for too long")
        if nonce in self._used:
            raise _refused("the proof was used before")
        if len(self._used) >= _MAX_USED:
            self._used.popitem(last=False)
        self._used[nonce] = None


def make_proof(secret: bytes, expires: int, nonce: str) -> bytes:
    """Returns the proof that the app's backend hands to its page; *expires* in seconds since the epoch."""
    mac = hmac.digest(secret, f"{expires}.{nonce}".encode("ascii"), "sha256")
    return f"{expires}.{nonce}.{encode_base64url(mac)}".encode("ascii")


def ended_cookie() -> bytes:
    """Returns the Set-Cookie value that removes the guest cookie."""
    return _cookie("", 0)


def _cookie(token: str, lifetime: int) -> bytes:
    attributes = f"Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={lifetime}"
    return f"{GUEST_COOKIE}={token}; {attributes}".encode("ascii")


def _refused(reason: str) -> Forbidden:
    return Forbidden("A guest session needs a proof of this app", error_type="guest_proof_required", reason=reason)
