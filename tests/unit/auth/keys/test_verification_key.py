"""Keys that may verify a token, and the messages about those that may not."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from jwt import get_algorithm_by_name
from support.hostile_tokens import FAL_KEY, b64, key_pair, public_forms

from proxy.auth.keys.algorithms import ALGORITHMS, HMAC, PUBLIC
from proxy.auth.keys.hmac_secret import MIN_SECRET_BYTES, hmac_key
from proxy.auth.keys.public_key import public_key
from proxy.auth.keys.verification_key import VerificationKey
from proxy.strict_json import Json

PAIRS = {algorithm: key_pair(algorithm) for algorithm in ALGORITHMS}
SECRET = PAIRS[HMAC][0]


def public_jwk(algorithm: str) -> dict[str, Json]:
    scheme = get_algorithm_by_name(algorithm)
    jwk: dict[str, Json] = scheme.to_jwk(public_key(algorithm, PAIRS[algorithm][1]).material, as_dict=True)
    return jwk


def public_pem(
    key: rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | dsa.DSAPublicKey
    | ed448.Ed448PublicKey
    | x25519.X25519PublicKey,
) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


JWKS = {algorithm: public_jwk(algorithm) for algorithm in PUBLIC}


def loaded(algorithm: str) -> VerificationKey:
    key, public = PAIRS[algorithm]
    return hmac_key(key) if algorithm == HMAC else public_key(algorithm, public)


def signed(algorithm: str, message: bytes) -> bytes:
    scheme = get_algorithm_by_name(algorithm)
    return scheme.sign(message, scheme.prepare_key(PAIRS[algorithm][0]))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_verifies_its_own_signatures(algorithm: str) -> None:
    """Each algorithm's key takes the signature over exactly these octets and nothing near it."""
    key, signature = loaded(algorithm), signed(algorithm, b"signing.input")
    assert key.verify(b"signing.input", signature)
    assert not key.verify(b"signing.inputs", signature)
    for forged in (b"", b"\0", signature[:-1], signature + b"\0", bytes(len(signature)), signature[::-1], b"\xff" * 64):
        assert not key.verify(b"signing.input", forged)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("other", ALGORITHMS)
def test_one_algorithm_a_key(algorithm: str, other: str) -> None:
    """A key takes signatures of its own algorithm alone."""
    assert loaded(algorithm).verify(b"x", signed(other, b"x")) == (algorithm == other)


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_jwk_is_the_same_key(algorithm: str) -> None:
    """PEM and JWK, with white space round them, load to keys that verify alike."""
    for material in (json.dumps(JWKS[algorithm], indent=1).encode(), b"\n" + PAIRS[algorithm][1] + b"\n"):
        assert public_key(algorithm, material).verify(b"x", signed(algorithm, b"x"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_keeps_to_itself(algorithm: str) -> None:
    """No key shows its material when printed."""
    assert repr(loaded(algorithm)) == f"VerificationKey(algorithm='{algorithm}', kid=None)"


@pytest.mark.parametrize(
    ("given_", "own", "expected"),
    [(None, None, None), ("a", None, "a"), (None, "b", "b"), ("c", "c", "c")],
)
def test_the_kid_of_a_jwk(given_: str | None, own: str | None, expected: str | None) -> None:
    """The configured kid and the JWK's own must not differ; either may name the key."""
    jwk = JWKS["ES256"] | ({} if own is None else {"kid": own})
    assert public_key("ES256", json.dumps(jwk).encode(), given_).kid == expected


# --- what is not an HMAC secret ---------------------------------------------------------------------------------------

PRIVATE_FORMS = {
    "pkcs8-pem": PAIRS["RS256"][0],
    "pkcs8-pem-ec": PAIRS["ES256"][0],
    "pkcs8-der": load_pem_private_key(PAIRS["ES256"][0], None).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    ),
    "sec1-der": load_pem_private_key(PAIRS["ES256"][0], None).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ),
    "pkcs1-der": load_pem_private_key(PAIRS["RS256"][0], None).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ),
    "oct-jwk": json.dumps({"kty": "oct", "k": b64(SECRET).decode()}).encode(),
    "token": b64(b'{"alg":"HS256","typ":"JWT"}') + b".e30." + b64(os.urandom(32)),
    "ssh": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + b64(os.urandom(30)),
}
KEY_SHAPED = PRIVATE_FORMS | {
    f"{algorithm}-{name}": form
    for algorithm in PUBLIC
    for name, form in public_forms(PAIRS[algorithm][1], algorithm).items()
}


KEY_SHAPED |= {
    f"{name}-in-base64": b64encode(form)
    for name, form in KEY_SHAPED.items()
    if not name.endswith(("one-line", "base64"))  # these are in base64 already
}


@pytest.mark.parametrize("secret", KEY_SHAPED.values(), ids=KEY_SHAPED)
def test_a_key_is_no_secret(secret: bytes) -> None:
    """PEM, DER, JWK, JWKS and SSH keys, public or private, bare or in base64, never become HMAC secrets."""
    with pytest.raises(ValueError, match="looks like a key file, a JWK or a token"):
        hmac_key(secret)


WEAK = {
    "empty": (b"", "has 0 bytes"),
    "31-bytes": (os.urandom(31), "has 31 bytes"),
    "all-one-byte": (b"k" * 64, "repeats itself"),
    "all-zero": (bytes(32), "repeats itself"),
    "two-letters": (b"ab" * 40, "repeats itself"),
    "few-letters": (b"aabbccddeeffgaabbccddeefgabcdefgabc", "repeats itself"),
    "a-word-repeated": (b"chunguswhale" * 5, "repeats itself"),
    "repeated-and-cut": (b"0123456789abcdef0123456789abcdef012", "repeats itself"),
    "padded-with-zeros": (b"xK9#mQ2$vL7!" + b"0" * 24, "padding"),
    "padded-with-nuls": (b"xK9#mQ2$vL7!pR4^wT8&" + bytes(12), "padding"),
    "padded-in-front": (b" " * 20 + b"xK9#mQ2$vL7!pR4^wT8&", "padding"),
    "uuid": (b"3f2b8c1d-9e4a-4c7b-8d6f-1a2b3c4d5e6f", "UUID"),
    "uuid-upper-case": (b"3F2B8C1D-9E4A-4C7B-8D6F-1A2B3C4D5E6F", "UUID"),
    "rfc-7515": (
        b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        "published",
    ),
    "fastapi": (b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7\n", "published"),
    "jwt.io": (b"your-256-bit-secret-your-256-bit-secret!", "placeholder"),
    "jwt.io-2025": (b"a-string-secret-at-least-256-bits-long", "placeholder"),
    "supabase": (b"super-secret-jwt-token-with-at-least-32-characters-long", "placeholder"),
    "supabase-docker": (b"your-super-secret-jwt-token-with-at-least-32-characters-long", "placeholder"),
    "change-me": (b"CHANGE_ME_CHANGE_ME_TO_A_REAL_SECRET", "placeholder"),
    "this-is": (b"this-is-my-very-secret-development-key-123", "placeholder"),
    "asp-net": (b"THIS IS USED TO SIGN AND VERIFY JWT TOKENS, REPLACE IT WITH YOUR OWN SECRET", "placeholder"),
    "keyboard": (b"qwertyuiopasdfghjklzxcvbnm123456", "placeholder"),
    "alphabet": (b"abcdefghijklmnopqrstuvwxyz0123456789", "placeholder"),
    "password": (b"Password1234567890!Password123!!", "placeholder"),
}


@pytest.mark.parametrize(("secret", "reason"), WEAK.values(), ids=WEAK)
def test_weak_secrets(secret: bytes, reason: str) -> None:
    """A secret that others can guess or have read is refused, and the message says which sin it is."""
    with pytest.raises(ValueError, match=reason):
        hmac_key(secret)


@pytest.mark.parametrize(
    "forbidden",
    [SECRET, SECRET + b"\n", b"Key " + SECRET, SECRET[1:-1]],
    ids=["equal", "newline", "part-of-it", "most-of-it"],
)
def test_a_secret_of_something_else(forbidden: bytes) -> None:
    """Equality with another secret of the service is refused, also where one holds the other."""
    with pytest.raises(ValueError, match="also used for something else"):
        hmac_key(SECRET, forbidden=[b"", b"other", forbidden])


def test_half_a_fal_key() -> None:
    """The secret half of FAL_KEY is 32 characters long and would pass for a secret."""
    half = FAL_KEY.partition(b":")[2]
    assert len(half) == MIN_SECRET_BYTES
    with pytest.raises(ValueError, match="also used for something else"):
        hmac_key(half, forbidden=[FAL_KEY])
    assert hmac_key(half, forbidden=[b"", b"a", half[:8]]).kid is None


def test_random_octets_are_good() -> None:
    """Random octets, which the message advises, are accepted in hexadecimal and base64 too."""
    for seed in range(200):
        secret = Random(seed).randbytes(48)
        for spelling in (secret, secret.hex().encode(), b64encode(secret), b64(secret), secret[:16].hex().encode()):
            assert hmac_key(spelling).algorithm == HMAC


# --- what is not a public key -----------------------------------------------------------------------------------------


def with_members(algorithm: str, **members: Json) -> bytes:
    return json.dumps({k: v for k, v in (JWKS[algorithm] | members).items() if v is not None}).encode()


def rsa_numbers(modulus: int, exponent: int = 65537) -> bytes:
    n, e = (b64(number.to_bytes((number.bit_length() + 7) // 8)).decode() for number in (modulus, exponent))
    return json.dumps({"kty": "RSA", "n": n, "e": e}).encode()


def private_jwk(algorithm: str) -> bytes:
    key = load_pem_private_key(PAIRS[algorithm][0], None)
    jwk: dict[str, Json] = get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return json.dumps(jwk).encode()


PRODUCT = 11 * 13 * 17 * 19 * 37 * 53 * 61 * 71 * 73 * 79 * 97 * 103 * 107 * 109 * 127 * 151 * 157
ROCA = PRODUCT * 2 ** (2048 - PRODUCT.bit_length()) + pow(65537, 12345, PRODUCT)  # odd, 2048 bits
MODULUS = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n

UNFIT: dict[str, tuple[str, bytes, str]] = {
    "hmac": (HMAC, PAIRS["RS256"][1], "must be one of RS256"),
    "none": ("none", PAIRS["RS256"][1], "must be one of RS256"),
    "es256k": ("ES256K", PAIRS["RS256"][1], "must be one of RS256"),
    "empty": ("RS256", b"", "one PEM block or one JWK"),
    "garbage": ("RS256", b"garbage", "one PEM block or one JWK"),
    "der": ("RS256", public_forms(PAIRS["RS256"][1], "RS256")["der"], "one PEM block or one JWK"),
    "two-blocks": ("ES256", PAIRS["ES256"][1] * 2, "one PEM block or one JWK"),
    "broken-pem": ("ES256", PAIRS["ES256"][1].replace(b"M", b"N"), "not a usable public key"),
    "certificate": (
        "RS256",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "not a usable public key",
    ),
    "ec-for-rsa": ("RS256", PAIRS["ES256"][1], "not the one of RS256"),
    "rsa-for-ec": ("ES256", PAIRS["RS256"][1], "not the one of ES256"),
    "ed-for-ec": ("ES256", PAIRS["EdDSA"][1], "not the one of ES256"),
    "ec-for-ed": ("EdDSA", PAIRS["ES256"][1], "not the one of EdDSA"),
    "p-384": ("ES256", public_pem(ec.generate_private_key(ec.SECP384R1()).public_key()), "not the one of ES256"),
    "secp256k1": ("ES256", public_pem(ec.generate_private_key(ec.SECP256K1()).public_key()), "not the one of ES256"),
    "ed448": ("EdDSA", public_pem(ed448.Ed448PrivateKey.generate().public_key()), "not the one of EdDSA"),
    "x25519": ("EdDSA", public_pem(x25519.X25519PrivateKey.generate().public_key()), "not the one of EdDSA"),
    "rsa-1024": ("RS256", public_pem(rsa.generate_private_key(65537, 1024).public_key()), "has 1024 bits"),
    "rsa-2047": ("RS256", rsa_numbers(MODULUS >> 1 | 1), "has 2047 bits"),
    "rsa-e-3": ("RS256", public_pem(rsa.generate_private_key(3, 2048).public_key()), "exponent"),
    "rsa-e-1": ("RS256", rsa_numbers(MODULUS, 1), "not a usable public key"),
    "rsa-e-even": ("RS256", rsa_numbers(MODULUS, 65538), "not a usable public key"),
    "rsa-e-huge": ("RS256", rsa_numbers(MODULUS, 2**256 + 1), "exponent"),
    "rsa-roca": ("RS256", rsa_numbers(ROCA), "ROCA"),
    "jwk-not-json": ("RS256", b"{kty:'RSA'}", "not strict JSON"),
    "jwk-duplicate": ("RS256", with_members("RS256").replace(b"{", b'{"kty":"oct",', 1), "not strict JSON: duplicate"),
    "jwks": ("RS256", json.dumps({"keys": [JWKS["RS256"]]}).encode(), "kty is not RSA"),
    "jwk-other-kty": ("RS256", with_members("ES256"), "kty is not RSA"),
    "jwk-oct": ("ES256", json.dumps({"kty": "oct", "k": "AAAA"}).encode(), "kty is not EC"),
    "jwk-case": ("EdDSA", with_members("EdDSA", kty="okp"), "kty is not OKP"),
    "jwk-no-n": ("RS256", with_members("RS256", n=None), "lacks n or e"),
    "jwk-number": ("RS256", with_members("RS256", e=65537), "lacks n or e"),
    "jwk-no-y": ("ES256", with_members("ES256", y=None), "lacks x or y"),
    "jwk-no-x": ("EdDSA", with_members("EdDSA", x=None), "lacks x"),
    "jwk-other-alg": ("RS256", with_members("RS256", alg="RS512"), "alg or use"),
    "jwk-null-alg": ("RS256", json.dumps(JWKS["RS256"] | {"alg": None}).encode(), "alg or use"),
    "jwk-use-enc": ("ES256", with_members("ES256", use="enc"), "alg or use"),
    "jwk-use-list": ("ES256", with_members("ES256", use=["sig"]), "alg or use"),
    "jwk-ops-sign": ("EdDSA", with_members("EdDSA", key_ops=["sign"]), "key_ops"),
    "jwk-ops-empty": ("EdDSA", with_members("EdDSA", key_ops=[]), "key_ops"),
    "jwk-ops-string": ("EdDSA", with_members("EdDSA", key_ops="verify"), "key_ops"),
    "jwk-padded": ("ES256", with_members("ES256", x=f"{JWKS['ES256']['x']}="), "not a usable public key"),
    "jwk-short-x": ("ES256", with_members("ES256", x="AAAA"), "not a usable public key"),
    "jwk-off-curve": ("ES256", with_members("ES256", x=b64(bytes(31) + b"\1").decode()), "not a usable public key"),
    "jwk-no-crv": ("ES256", with_members("ES256", crv=None), "not a usable public key"),
    "jwk-crv-list": ("EdDSA", with_members("EdDSA", crv=["Ed25519"]), "not a usable public key"),
    "jwk-ed448-named": ("EdDSA", with_members("EdDSA", crv="Ed448"), "not a usable public key"),
    "jwk-non-ascii": ("EdDSA", with_members("EdDSA", x="\u00e9"), "not a usable public key"),
    "jwk-kid-number": ("ES256", with_members("ES256", kid=1), "kid"),
    "jwk-kid-empty": ("ES256", with_members("ES256", kid=""), "kid"),
    "jwk-kid-long": ("ES256", with_members("ES256", kid="k" * 257), "kid"),
    "jwk-private-rsa": ("RS256", private_jwk("RS256"), "private key"),
    "jwk-private-ec": ("ES256", private_jwk("ES256"), "private key"),
    "jwk-private-ed": ("EdDSA", private_jwk("EdDSA"), "private key"),
    "pem-private-rsa": ("RS256", PAIRS["RS256"][0], "private key"),
    "pem-private-ec": ("ES256", PAIRS["ES256"][0], "private key"),
    "pem-private-after-public": ("ES256", PAIRS["ES256"][1] + PAIRS["ES256"][0], "private key"),
}


@pytest.mark.parametrize(("algorithm", "material", "reason"), UNFIT.values(), ids=UNFIT)
def test_unfit_public_keys(algorithm: str, material: bytes, reason: str) -> None:
    """A key of the wrong kind, curve, size, purpose or secrecy is refused, and none of it is quoted."""
    with pytest.raises(ValueError, match=reason) as caught:
        public_key(algorithm, material)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    long_words = [word for word in str(caught.value).replace("-", " ").split() if len(word) > 12]
    assert not any(word.encode() in material for word in long_words)


def test_a_certificates_key_types() -> None:
    """Only the three families load: a DSA key is refused although it parses."""
    with pytest.raises(ValueError, match="not the one of RS256"):
        public_key("RS256", public_pem(dsa.generate_private_key(2048).public_key()))


def test_an_encrypted_private_key() -> None:
    """An encrypted private key is still a private key."""
    locked = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    with pytest.raises(ValueError, match="private key"):
        public_key("EdDSA", locked)


def test_conflicting_kids() -> None:
    """A JWK that calls itself otherwise than configured is a mistake somewhere."""
    with pytest.raises(ValueError, match="kid"):
        public_key("ES256", with_members("ES256", kid="a"), "b")


@pytest.mark.parametrize("kid", ["", "k" * 257])
def test_kid_lengths(kid: str) -> None:
    """A kid no token could carry is refused at start."""
    with pytest.raises(ValueError, match="1 to 256 characters"):
        hmac_key(SECRET, kid)


def test_a_good_modulus_as_numbers() -> None:
    """The rows of RSA numbers fail for their numbers: spelled the same way, a good modulus loads."""
    assert public_key("RS256", rsa_numbers(MODULUS)).algorithm == "RS256"
