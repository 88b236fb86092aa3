"""Formats of key documents, and what an operator reads about a file that is something else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from jwt import get_algorithm_by_name
from support.identity_provider import SigningKey, signing_key

from proxy.auth.keys.algorithms import PUBLIC
from proxy.auth.keys.key_document import MAX_DOCUMENT, parse_key_document
from proxy.auth.keys.verification_key import VerificationKey
from proxy.strict_json import Json

RSA, EC, ED = signing_key("RS256", "rsa"), signing_key("ES256", "ec"), signing_key("EdDSA", "ed")


def certificate(key: SigningKey) -> bytes:
    private = load_pem_private_key(key.private, None)
    assert isinstance(private, RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "securetoken.example.com")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=14))
    signed = builder.sign(private, None if isinstance(private, Ed25519PrivateKey) else SHA256())
    return signed.public_bytes(Encoding.PEM)


def jwks(*keys: dict[str, Json]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


GOOD: dict[str, tuple[bytes, list[tuple[str, str | None]]]] = {
    "pem": (RSA.public, [("RS256", None)]),
    "certificate": (certificate(RSA), [("RS256", None)]),
    "certificate-ec": (certificate(EC), [("ES256", None)]),
    "jwk": (json.dumps(EC.jwk).encode(), [("ES256", "ec")]),
    "jwk-set": (jwks(RSA.jwk, EC.jwk, ED.jwk), [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")]),
    "google": (json.dumps({"k1": certificate(RSA).decode()}).encode(), [("RS256", "k1")]),
    "spaces": (b"\n \n" + RSA.public + b"\n\n", [("RS256", None)]),
    # Of other purposes, kinds and algorithms: passed over, as RFC 7517 section 5 asks.
    "others-in-the-set": (
        jwks(
            {"kty": "oct", "k": "AAAA", "kid": "ec"},
            {**RSA.jwk, "use": "enc"},
            {**RSA.jwk, "alg": "RSA-OAEP"},
            {**EC.jwk, "key_ops": ["sign"]},
            {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
            EC.jwk,
        ),
        [("ES256", "ec")],
    ),
    # Entra's keys do not say their algorithm.
    "no-alg": (jwks({name: value for name, value in RSA.jwk.items() if name != "alg"}), [("RS256", "rsa")]),
    "rs512": (jwks({**RSA.jwk, "alg": "RS512"}), [("RS512", "rsa")]),
}


@pytest.mark.parametrize(("material", "expected"), GOOD.values(), ids=GOOD)
def test_formats(material: bytes, expected: list[tuple[str, str | None]]) -> None:
    """Each format gives its keys, bound to one algorithm, with their ids."""
    keys = parse_key_document(material, PUBLIC).keys

    assert [(key.algorithm, key.kid) for key in keys] == expected


def test_a_read_key_verifies() -> None:
    """A key out of a certificate verifies what its private key signed."""
    (key,) = parse_key_document(certificate(EC), ("ES256",)).keys
    scheme = get_algorithm_by_name("ES256")

    assert key.verify(b"x", scheme.sign(b"x", scheme.prepare_key(EC.private)))


def test_thumbprints() -> None:
    """The example of RFC 7638 section 3.1 has the thumbprint that is printed there."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    (key,) = parse_key_document(json.dumps(jwk).encode(), PUBLIC).keys

    assert key.thumbprint() == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    with pytest.raises(TypeError):
        VerificationKey("HS256", None, b"k" * 32).thumbprint()


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b" \n", "is empty"),
    "private-pem": (RSA.private, "this is a private key"),
    "private-jwk": (
        json.dumps(
            get_algorithm_by_name("ES256").to_jwk(load_pem_private_key(EC.private, None), as_dict=True)
        ).encode(),
        "holds a private key",
    ),
    "ssh": (b"ssh-rsa AAAAB3NzaC1yc2E", "this is an SSH key; convert it"),
    "token": (b"eyJhbGciOiJIUzI1NiJ9.e30.x", "this is a token"),
    "html": (b"<!doctype html>", "an HTML or XML page"),
    "der": (b"\x30\x82\x01\x22", "this is a key in DER"),
    "bare-base64": (b"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A", "without PEM's BEGIN"),
    "words": (b"secret", "must be one PEM block"),
    "discovery": (b'{"issuer": "x", "jwks_uri": "https://x"}', "use discovery = true"),
    "service-account": (b'{"type": "service_account", "private_key": "x"}', "service account file"),
    "other-json": (b'{"a": 1}', "neither a JWK, nor a JWK Set"),
    "array": (b"[]", "must be one PEM block"),
    "not-json": (b"{", "not strict JSON"),
    "duplicate-member": (b'{"keys": [], "keys": []}', "not strict JSON"),
    "empty-set": (jwks(), "does not list 1 to 100"),
    "keys-not-a-list": (b'{"keys": {}}', "does not list 1 to 100"),
    "item-not-an-object": (b'{"keys": [1]}', "is not an object"),
    "too-many": (jwks(*[EC.jwk] * 101), "does not list 1 to 100"),
    "two-of-one-kid": (jwks(EC.jwk, {**RSA.jwk, "kid": "ec"}), "the same kid"),
    "two-without-kid": (jwks(*[{k: v for k, v in EC.jwk.items() if k != "kid"}] * 2), "the same kid"),
    "none-usable": (jwks({"kty": "oct", "k": "AAAA"}), "no usable key; key 0: the JWK's kty"),
    "too-large": (b"{" + b" " * MAX_DOCUMENT + b"}", "more than 256 KiB"),
    "chain": (certificate(RSA) * 2, "one PEM block"),
    "bad-certificate": (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "not a usable"),
}


@pytest.mark.parametrize(("material", "message"), WRONG.values(), ids=WRONG)
def test_other_files(material: bytes, message: str) -> None:
    """A file that is something else is refused with what it is, or with the fault of its keys."""
    with pytest.raises(ValueError, match=message):
        parse_key_document(material, PUBLIC)


def test_only_the_listed_algorithms() -> None:
    """A key for another algorithm than those of the issuer is no key of it."""
    with pytest.raises(ValueError, match="alg or use is not for RS384"):
        parse_key_document(jwks(RSA.jwk), ("RS384",))
    with pytest.raises(ValueError, match="the one of ES384"):
        parse_key_document(EC.public, ("ES384",))
