"""Tokens for development: as good as real ones, and made with nothing less than a real key."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from support.hostile_tokens import key_pair
from support.identities import Identifier

from proxy.auth.caller import Caller
from proxy.auth.keys.algorithms import ALGORITHMS, HMAC
from proxy.auth.keys.hmac_secret import hmac_key
from proxy.auth.keys.key_source import StaticKeys
from proxy.auth.keys.public_key import public_key
from proxy.auth.sessions.issuer import Issuer
from proxy.auth.token_minting import mint
from proxy.strict_json import Json

NOW = 1_800_000_000.75
PAIRS = {algorithm: key_pair(algorithm) for algorithm in ALGORITHMS}


def minted(algorithm: str, key: bytes | None = None, **changes: object) -> str:
    arguments: dict[str, object] = {"issuer": "demo", "audience": "fal-proxy", "subject": "alice", "lifetime": 600.5}
    arguments |= {"algorithm": algorithm, "key": PAIRS[algorithm][0] if key is None else key, "now": NOW}
    return mint(**(arguments | changes))  # type: ignore[arg-type]


def identified(algorithm: str, token: str) -> Caller:
    key, public = PAIRS[algorithm]
    trusted = hmac_key(key, "dev") if algorithm == HMAC else public_key(algorithm, public, "dev")
    who = Identifier([Issuer("demo", ("fal-proxy",), StaticKeys((trusted,)))], clock=lambda: NOW)
    return who.identify([(b"authorization", b"Bearer " + token.encode())])


def private_jwk(algorithm: str) -> bytes:
    key = load_pem_private_key(PAIRS[algorithm][0], None)
    jwk: dict[str, Json] = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return json.dumps(jwk).encode()


def without_d(jwk: bytes) -> bytes:
    return json.dumps({name: value for name, value in json.loads(jwk).items() if name != "d"}).encode()


def private_pem(
    key: ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey | rsa.RSAPrivateKey, password: bytes | None = None
) -> bytes:
    lock = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_minted_token_is_let_in(algorithm: str) -> None:
    """The minted claims are accepted, with each algorithm."""
    caller = identified(algorithm, minted(algorithm, scopes=("a", "b"), claims={"plan": "pro"}))
    assert (caller.issuer, caller.subject, caller.scopes) == ("demo", "alice", frozenset({"a", "b"}))
    assert caller.claims["plan"] == "pro"
    assert caller.expires == 1_800_000_601


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_jwk_signs_too(algorithm: str) -> None:
    """A private JWK makes the same tokens as a private PEM."""
    assert identified(algorithm, minted(algorithm, private_jwk(algorithm))).subject == "alice"


def test_the_bare_token() -> None:
    """Without extras a token holds the five claims and two header members, in whole seconds."""
    token = minted(HMAC)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert jwt.decode(token, options={"verify_signature": False}) == {
        "iss": "demo",
        "aud": "fal-proxy",
        "sub": "alice",
        "iat": 1_800_000_000,
        "exp": 1_800_000_601,
    }


def test_a_kid() -> None:
    """A kid goes into the header, where it is compared."""
    assert identified(HMAC, minted(HMAC, kid="dev")).subject == "alice"
    assert jwt.get_unverified_header(minted(HMAC, kid="dev"))["kid"] == "dev"


def test_claims_replace_nothing() -> None:
    """Extra claims stand beside the arguments, never in their place."""
    claims = {"iss": "x", "aud": "x", "sub": "root", "iat": 0, "exp": 2**53, "scope": "admin"}
    caller = identified(HMAC, minted(HMAC, claims=claims, scopes=["a"]))
    assert (caller.subject, caller.expires, caller.scopes) == ("alice", 1_800_000_601, frozenset({"a"}))


def test_an_expired_token() -> None:
    """A lifetime below zero makes a token to try refusals with."""
    claims = jwt.decode(minted(HMAC, lifetime=-60), options={"verify_signature": False})
    assert claims["exp"] < claims["iat"]


UNFIT: dict[str, tuple[str, bytes, str]] = {
    "unknown-algorithm": ("none", b"", "must be one of HS256, RS256, .*, EdDSA"),
    "short-secret": ("HS256", b"secret", "has 6 bytes"),
    "weak-secret": ("HS256", b"your-256-bit-secret-your-256-bit-secret", "placeholder"),
    "pem-for-hmac": ("HS256", PAIRS["ES256"][0], "looks like a key file"),
    "secret-for-rsa": ("RS256", PAIRS["HS256"][0], "neither an unencrypted private PEM nor a JWK"),
    "public-pem": ("ES256", PAIRS["ES256"][1], "neither an unencrypted private PEM nor a JWK"),
    "encrypted": ("ES256", private_pem(ec.generate_private_key(ec.SECP256R1()), b"pw"), "neither an unencrypted"),
    "broken-jwk": ("ES256", b'{"kty":"EC"', "neither an unencrypted private PEM nor a JWK"),
    "empty-jwk": ("ES256", b"{}", "neither an unencrypted private PEM nor a JWK"),
    "jwk-of-numbers": ("ES256", b'{"kty":"EC","crv":"P-256","x":1,"y":1,"d":1}', "neither an unencrypted"),
    "public-jwk": ("EdDSA", without_d(private_jwk("EdDSA")), "not a private one for EdDSA"),
    "jwk-of-another": ("RS256", private_jwk("ES256"), "neither an unencrypted private PEM nor a JWK"),
    "rsa-for-ec": ("ES256", PAIRS["RS256"][0], "not a private one for ES256"),
    "ec-for-rsa": ("RS256", PAIRS["ES256"][0], "not a private one for RS256"),
    "p-384": ("ES256", private_pem(ec.generate_private_key(ec.SECP384R1())), "not a private one for ES256"),
    "ed448": ("EdDSA", private_pem(ed448.Ed448PrivateKey.generate()), "not a private one for EdDSA"),
}


@pytest.mark.parametrize(("algorithm", "key", "reason"), UNFIT.values(), ids=UNFIT)
def test_unfit_keys(algorithm: str, key: bytes, reason: str) -> None:
    """A key that is weak, public, locked, broken or another algorithm's signs nothing, and is not quoted."""
    with pytest.raises(ValueError, match=reason) as caught:
        minted(algorithm, key)
    assert not any(len(word) > 20 and word.encode() in key for word in str(caught.value).split())
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
