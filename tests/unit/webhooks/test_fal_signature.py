from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.webhooks import jwk, signed

from proxy.sandbox.webhooks import Signer
from proxy.webhooks.fal_signature import TOLERANCE, parse_jwks, parse_webhook_headers

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
BODY = b'{"request_id": "job-1"}'
Fields = list[tuple[bytes, bytes]]


def fields(**more: object) -> Fields:
    return [(name.encode(), value.encode()) for name, value in signed(KEY, "job-1", BODY, **more).items()]  # type: ignore[arg-type]


def jwks(*keys: object) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def test_a_signature_by_any_of_the_keys_is_good() -> None:
    """fal publishes several while it rolls them; whichever signed it, no header names it."""
    keys = parse_jwks(jwks(jwk(OTHER), jwk(KEY)))

    assert parse_webhook_headers(fields()).verify(keys, BODY)
    assert not parse_webhook_headers(fields()).verify(keys[:1], BODY)
    assert not parse_webhook_headers(fields()).verify((), BODY)


def test_the_sandbox_signs_the_same() -> None:
    """The local fal and this check read the same documentation."""
    signer = Signer(bytes(32))
    headers = [(name.encode(), value.encode()) for name, value in signer.headers("job-1", BODY, now=1e9).items()]

    assert parse_webhook_headers(headers).verify(parse_jwks(json.dumps(signer.jwks()).encode()), BODY)


@pytest.mark.parametrize("name", ["request-id", "user-id", "timestamp", "signature"])
def test_every_part_is_signed(name: str) -> None:
    """Each header changed by itself, and the body, spoils the signature."""
    changed = {"request-id": b"job-2", "user-id": b"somebody", "timestamp": b"1800000001", "signature": b"ab" * 64}
    spoilt = [(f, changed[name]) if f.endswith(name.encode()) else (f, v) for f, v in fields(at=1_800_000_000)]
    keys = parse_jwks(jwks(jwk(KEY)))

    assert not parse_webhook_headers(spoilt).verify(keys, BODY)
    assert not parse_webhook_headers(fields()).verify(keys, BODY + b"\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"request-id", b""),
        (b"request-id", b"a b"),
        (b"request-id", b"job-1\n2"),
        (b"request-id", b"a" * 129),
        (b"user-id", b""),
        (b"user-id", b"a\nb"),
        (b"user-id", b"a" * 129),
        (b"timestamp", b"1e9"),
        (b"timestamp", b"-1"),
        (b"timestamp", b"01800000000"),
        (b"timestamp", b"1" * 13),
        (b"timestamp", "\u0661".encode()),
        (b"signature", b"ab" * 63),
        (b"signature", b"ab" * 65),
        (b"signature", b"0x" + b"ab" * 63),
    ],
)
def test_a_malformed_header_is_refused(name: bytes, value: bytes) -> None:
    """Before any cryptography, naming the header."""
    odd = [(f, value) if f.endswith(name) else (f, v) for f, v in fields()]

    with pytest.raises(ValueError, match=f"x-fal-webhook-{name.decode()} is malformed"):
        parse_webhook_headers(odd)


@pytest.mark.parametrize("name", [b"request-id", b"user-id", b"timestamp", b"signature"])
def test_a_header_that_is_missing_or_there_twice_is_refused(name: bytes) -> None:
    """A proxy in front could have read the other of two."""
    given = fields()
    (one,) = [field for field in given if field[0].endswith(name)]

    with pytest.raises(ValueError, match="malformed"):
        parse_webhook_headers([*given, one])
    with pytest.raises(ValueError, match="missing"):
        parse_webhook_headers([field for field in given if field != one])


@pytest.mark.parametrize(
    ("off", "fresh"), [(0, True), (TOLERANCE, True), (-TOLERANCE, True), (TOLERANCE + 1, False), (-301, False)]
)
def test_five_minutes_either_way(off: int, fresh: bool) -> None:
    """The clocks may differ by that much, and no more."""
    assert parse_webhook_headers(fields(at=1_800_000_000)).is_fresh(1_800_000_000.0 + off) is fresh


OK = jwk(KEY)
RSA = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)
EC = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
ED448 = OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True)


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (jwks(OK), 1),
        (jwks(OK, jwk(OTHER)), 2),
        (jwks(RSA, EC, ED448, OK), 1),
        (jwks({**OK, "use": "enc"}, OK), 1),
        (jwks({**OK, "alg": "EdDSA", "kid": "k", "key_ops": ["verify"]}), 1),
        (jwks({**OK, "alg": "Ed25519"}), 1),
    ],
)
def test_the_ed25519_keys_of_a_set_are_taken(document: bytes, count: int) -> None:
    """Keys of other kinds and for other uses are passed over."""
    assert len(parse_jwks(document)) == count


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[1]}',
        b'{"keys":[],"keys":[]}',
        jwks(RSA),
        jwks(OK)[:-1],
        jwks(*[OK] * 21),
        jwks({**OK, "d": "AAAA"}),
        jwks({**OK, "x": "AAAA"}),
        jwks({**OK, "x": str(OK["x"]) + "="}),
        jwks({**OK, "x": 5}),
        jwks({**OK, "alg": "HS256"}),
        jwks({**OK, "key_ops": ["sign"]}),
        jwks({**OK, "kid": "k" * 300}),
        jwks({**OK, "kid": 5}),
        b'{"keys":' + b"[" * 50 + b"]" * 50 + b"}",
    ],
)
def test_a_set_that_is_not_one_is_refused(document: bytes) -> None:
    """A set is refused as a whole: half a set would be a set that an attacker chose."""
    with pytest.raises(ValueError, match=r"key|JWK"):
        parse_jwks(document)
