"""Rows of session tokens that must be refused, each with one fault.

`rows(material)` are Authorization values for a gateway that trusts exactly *material*; `material.token()` is the
control, which it must accept. Rows whose `travels` is false do not pass HTTP unchanged, so they only suit unit tests.
Over sockets the `size-` rows may be answered 431 by the listener, before anybody looks for a token.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from jwt import get_algorithm_by_name

from proxy.auth.keys.algorithms import CURVES, RSA
from proxy.strict_json import Json

FAL_KEY = b"0f3c2b1a-5d4e-4f60-8a7b-9c8d7e6f5a4b:5f3c9a1e7b2d4f60a8c1e3b5d7f90a2c"  # the form of a real one
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of the group of P-256
CANARY = "http://127.0.0.1:9/keys"  # nothing may ever be fetched from here

_FIELD_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?")


class Row(NamedTuple):
    """A hostile request: the *values* of its Authorization fields, and the *status* it must get."""

    id: str
    values: tuple[bytes, ...]
    status: int = 401

    @property
    def travels(self) -> bool:
        return all(_FIELD_VALUE.fullmatch(value) for value in self.values)


@dataclass(frozen=True)
class Material:
    """Keys that a gateway trusts, with the private parts.

    *key*: the secret or the private PEM; *public*: PEM, if any.
    """

    algorithm: str
    key: bytes
    public: bytes
    issuer: str
    audience: str
    now: int
    kid: str | None = None

    @property
    def header(self) -> dict[str, Json]:
        key_id: dict[str, Json] = {} if self.kid is None else {"kid": self.kid}
        return {"alg": self.algorithm, "typ": "JWT"} | key_id

    @property
    def claims(self) -> dict[str, Json]:
        return {"iss": self.issuer, "aud": self.audience, "sub": "mallory", "iat": self.now, "exp": self.now + 600}

    def sign(self, signing_input: bytes, algorithm: str | None = None) -> bytes:
        return get_algorithm_by_name(algorithm or self.algorithm).sign(
            signing_input, prepared(self.algorithm, self.key)
        )

    def token(self, header: Mapping[str, Json] | None = None, /, **claims: Json) -> bytes:
        """Returns a genuine token but for the members given on top."""
        return self.raw(dumps(self.header | dict(header or {})), dumps(self.claims | claims))

    def without(self, *names: str) -> bytes:
        return self.raw(dumps(self.header), dumps({k: v for k, v in self.claims.items() if k not in names}))

    def payload(self, payload: bytes | str) -> bytes:
        return self.raw(dumps(self.header), payload if isinstance(payload, bytes) else payload.encode())

    def spelled(self, name: str, value: str) -> bytes:
        """Returns a genuine token whose claim *name* is the JSON text *value*, as it stands."""
        rest = {k: v for k, v in self.claims.items() if k != name}
        return self.payload(f'{json.dumps(rest)[:-1]},"{name}":{value}}}')

    def raw(self, header: bytes, payload: bytes) -> bytes:
        return compact(header, payload, self.sign)


@cache  # checking an RSA key takes 80 ms
def prepared(algorithm: str, key: bytes) -> object:
    return get_algorithm_by_name(algorithm).prepare_key(key)


def fresh(algorithm: str, *, issuer: str, audience: str, now: int, kid: str | None = None) -> Material:
    """Returns material with a new key."""
    key, public = key_pair(algorithm)
    return Material(algorithm, key, public, issuer, audience, now, kid)


def key_pair(algorithm: str) -> tuple[bytes, bytes]:
    if algorithm == "HS256":
        return urlsafe_b64encode(os.urandom(36)), b""
    key = private_key(algorithm)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@cache
def strange_key_pair(algorithm: str) -> tuple[bytes, bytes]:
    return key_pair(algorithm)


def stranger_to(m: Material, algorithm: str) -> Material:
    """Returns an issuer with the claims of *m* and an untrusted key."""
    key, public = strange_key_pair(algorithm)
    return replace(m, algorithm=algorithm, key=key, public=public)


def private_key(algorithm: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    if algorithm in RSA:
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(CURVES[algorithm]()) if algorithm in CURVES else ed25519.Ed25519PrivateKey.generate()


def rows(material: Material) -> list[Row]:
    """Rows J1 to J16 of the threat model, every one a refusal for a gateway that trusts *material* alone."""
    tables = (algorithms, confusions, signatures, kids, key_injections, extensions, types, dates, parties, subjects)
    tokens = [pair for table in (*tables, json_faults, encodings, sizes) for pair in table(material)]
    return [Row(name, (b"Bearer " + token,)) for name, token in tokens] + list(schemes(material))


def dumps(value: Mapping[str, Json]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def b64(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def compact(header: bytes, payload: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    signing_input = b64(header) + b"." + b64(payload)
    return signing_input + b"." + b64(sign(signing_input))


Tokens = Iterator[tuple[str, bytes]]


def algorithms(m: Material) -> Tokens:
    """Yields rows of J1, J3: the token does not choose its algorithm."""
    for alg in ("none", "None", "NONE", "nOnE", "", m.algorithm.lower() + "x", m.algorithm.swapcase()):
        yield f"alg-{alg or 'empty'}-unsigned", compact(dumps(m.header | {"alg": alg}), dumps(m.claims), lambda _: b"")
        yield f"alg-{alg or 'empty'}-signed", m.token({"alg": alg})
    untyped: dict[str, Json] = {"null": None, "number": 1, "true": True, "list": [m.algorithm], "object": {"a": 1}}
    for name, value in untyped.items():
        yield f"alg-{name}", m.token({"alg": value})
    for suffix in (" ", "\0", "\n", "\u200b", "#"):
        yield f"alg-suffix-{ord(suffix)}", m.token({"alg": m.algorithm + suffix})
    yield "alg-absent", m.raw(dumps({"typ": "JWT"}), dumps(m.claims))
    yield "alg-empty-header", m.raw(b"{}", dumps(m.claims))
    for alg in ("HS256", "HS384", "HS512", "RS256", "RS384", "PS256", "ES256", "ES256K", "ES384", "EdDSA", "Ed25519"):
        if alg != m.algorithm:
            yield f"alg-{alg}-over-{m.algorithm}-signature", m.token({"alg": alg})
    siblings = {"HS": ("HS384", "HS512"), "RS": ("RS384", "RS512", "PS256", "PS512")}
    for alg in siblings.get(m.algorithm[:2], ()):
        header = dumps(m.header | {"alg": alg})
        yield f"alg-{alg}-by-the-same-key", compact(header, dumps(m.claims), partial(m.sign, algorithm=alg))


def confusions(m: Material) -> Tokens:
    """Yields J2: public and guessable values as an HMAC secret, and untrusted keys."""
    for name, secret in guessable_secrets(m).items():
        for alg, size in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
            if name.startswith("hmac") and alg != m.algorithm:
                continue
            header = dumps(m.header | {"alg": alg})
            yield f"confusion-{alg}-{name}", compact(header, dumps(m.claims), hmac_signer(secret, size))
    for alg in ("HS256", "RS256", "ES256", "EdDSA"):
        yield f"confusion-foreign-{alg}", stranger_to(m, alg).token()


def guessable_secrets(m: Material) -> dict[str, bytes]:
    common = {"hmac-empty": b"", "hmac-secret": b"secret", "hmac-issuer": m.issuer.encode(), "hmac-nul": b"\0"}
    if not m.public:
        return common | {"hmac-truncated": m.key[:-1], "hmac-newline": m.key + b"\n", "hmac-base64": b64(m.key)}
    return common | public_forms(m.public, m.algorithm)


def public_forms(pem: bytes, algorithm: str) -> dict[str, bytes]:
    """Returns every spelling of a public key that a careless gateway might take for a secret."""
    key = load_pem_public_key(pem)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    jwk = get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    forms = {
        "pem": pem,
        "pem-stripped": pem.strip(),
        "pem-crlf": pem.replace(b"\n", b"\r\n"),
        "pem-one-line": b"".join(pem.split(b"\n")[1:-2]),
        "der": der,
        "jwk": json.dumps(jwk).encode(),
        "jwk-compact": dumps(jwk),
        "jwk-base64": b64(dumps(jwk)),
        "jwks": json.dumps({"keys": [jwk]}).encode(),
    }
    if isinstance(key, rsa.RSAPublicKey):
        forms["pkcs1-pem"] = key.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        forms["pkcs1-der"] = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return forms


def hmac_signer(secret: bytes, digest: str) -> Callable[[bytes], bytes]:
    return lambda signing_input: hmac.digest(secret, signing_input, digest)


def signatures(m: Material) -> Tokens:
    """Yields rows of J3: another signature than the one over exactly these octets."""
    token = m.token()
    signing_input, _, _ = token.rpartition(b".")
    header, _, payload = signing_input.partition(b".")
    genuine = m.sign(signing_input)
    other = m.sign(b64(dumps(m.header)) + b"." + b64(dumps(m.claims | {"sub": "alice"})))
    forged = {
        "empty": b"",
        "one-byte": b"\0",
        "zeros": bytes(len(genuine)),
        "ones": b"\xff" * len(genuine),
        "first-bit": bytes([genuine[0] ^ 0x80]) + genuine[1:],
        "last-bit": genuine[:-1] + bytes([genuine[-1] ^ 1]),
        "short": genuine[:-1],
        "long": genuine + b"\0",
        "leading-zero": b"\0" + genuine,
        "twice": genuine * 2,
        "reversed": genuine[::-1],
        "of-another-token": other,
        "of-the-payload": m.sign(payload),
        "of-the-decoded-parts": m.sign(dumps(m.header) + b"." + dumps(m.claims)),
        "hexadecimal": genuine.hex().encode(),
    }
    for name, signature in (forged | special_signatures(m, signing_input, genuine)).items():
        yield f"signature-{name}", signing_input + b"." + b64(signature)
    yield "signature-payload-swapped", b".".join((header, b64(dumps(m.claims | {"sub": "alice"})), b64(genuine)))
    yield "signature-header-swapped", b".".join((b64(dumps(m.header | {"x": 1})), payload, b64(genuine)))


def special_signatures(m: Material, signing_input: bytes, genuine: bytes) -> dict[str, bytes]:
    """Yields those of a scheme: CVE-2022-21449 for ECDSA, other padding for RSA, a shifted S for EdDSA."""
    if m.algorithm == "ES256":
        r, s = int.from_bytes(genuine[:32]), int.from_bytes(genuine[32:])
        pairs = {"zero-r": (0, s), "zero-s": (r, 0), "order": (ORDER, ORDER), "s-is-order": (r, ORDER), "one": (1, 1)}
        raw = {name: a.to_bytes(32) + b.to_bytes(32) for name, (a, b) in pairs.items()}
        return raw | {
            "der": encode_dss_signature(r, s),
            "der-zeros": encode_dss_signature(0, 0),
            "swapped": genuine[32:] + genuine[:32],
        }
    if m.algorithm == "RS256":
        key = load_pem_private_key(m.key, None)
        assert isinstance(key, rsa.RSAPrivateKey)
        modulus = key.public_key().public_numbers().n
        number = int.from_bytes(genuine)
        pss = key.sign(signing_input, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
        longer = number + modulus
        return {
            "pss": pss,
            "is-one": (1).to_bytes(256),
            "modulus": modulus.to_bytes(256),
            "plus-modulus": longer.to_bytes(257),
        }
    if m.algorithm == "EdDSA":
        order = 2**252 + 27742317777372353535851937790883648493
        s = int.from_bytes(genuine[32:], "little") + order
        return {"s-plus-order": genuine[:32] + s.to_bytes(32, "little"), "identity-point": b"\1" + bytes(63)}
    return {"truncated-hmac": genuine[:16]}


def kids(m: Material) -> Tokens:
    """Yields rows of J4: a kid is compared, and nothing else is ever done with it."""
    malformed: dict[str, Json] = {
        "number": 1,
        "null": None,
        "true": True,
        "list": [m.kid],
        "object": {"kid": m.kid},
        "257-characters": "k" * 257,
    }
    for name, kid in malformed.items():
        yield f"kid-{name}", m.token({"kid": kid})
    if m.kid is None:
        return
    unknown = {
        "empty": "",
        "unknown": "k" * 256,
        "prefix": m.kid[:-1],
        "suffix": m.kid + "2",
        "case": m.kid.swapcase(),
        "space": m.kid + " ",
        "nul": m.kid + "\0",
        "traversal": "../../../../../../dev/null",
        "absolute": "/etc/passwd",
        "file": "file:///dev/null",
        "sql": "' UNION SELECT 'key' -- ",
        "shell": "$(id)|id;`id`",
        "crlf": "k\r\nX-Injected: 1",
        "url": CANARY,
        "jndi": "${jndi:ldap://127.0.0.1:9/a}",
        "redis": "*\r\n$4\r\nKEYS",
        "format": "%s%n{0.__class__}",
        "wildcard": "*",
    }
    for name, text in unknown.items():
        yield f"kid-{name}", m.token({"kid": text})


def key_injections(m: Material) -> Tokens:
    """Yields rows of J5: a key that the token brings or points to."""
    stranger = stranger_to(m, "RS256")
    jwk: dict[str, Json] = get_algorithm_by_name("RS256").to_jwk(load_pem_public_key(stranger.public), as_dict=True)
    injected: dict[str, Json] = {
        "jku": CANARY,
        "x5u": CANARY,
        "jwk": jwk,
        "x5c": ["MIIB"],
    }
    for name, value in injected.items():
        yield f"inject-{name}-foreign", stranger.token({name: value})
        yield f"inject-{name}-genuine", m.token({name: value})
    yield "inject-jwk-oct", m.token({"jwk": {"kty": "oct", "k": b64(b"k" * 32).decode()}})
    yield "inject-jku-null", m.token({"jku": None})


def extensions(m: Material) -> Tokens:
    """Yields rows of J6: all that would change what the signature covers or what the payload is."""
    members: dict[str, dict[str, Json]] = {
        "crit-unknown": {"crit": ["exp2"], "exp2": 1},
        "crit-known": {"crit": ["alg"]},
        "crit-empty": {"crit": []},
        "crit-string": {"crit": "b64"},
        "crit-null": {"crit": None},
        "b64-false": {"b64": False},
        "b64-true": {"b64": True},
        "b64-false-crit": {"b64": False, "crit": ["b64"]},
        "zip-def": {"zip": "DEF"},
        "zip-null": {"zip": None},
        "enc": {"enc": "A256GCM"},
        "jwe-dir": {"alg": "dir", "enc": "A128GCM"},
        "cty-jwt": {"cty": "JWT"},
        "cty-media-type": {"cty": "application/jwt"},
        "cty-json": {"cty": "json"},
    }
    for name, header in members.items():
        yield f"extension-{name}", m.token(header)
    token = m.token()
    header_, payload, signature = token.split(b".")
    bare = b64(dumps(m.header | {"b64": False, "crit": ["b64"]})) + b"." + dumps(m.claims).replace(b".", b"_")
    yield "extension-unencoded-payload", bare + b"." + b64(m.sign(bare))
    yield "extension-detached-payload", header_ + b".." + signature
    yield "extension-nested", m.payload(token)
    yield (
        "extension-jwe-five-parts",
        b".".join((b64(dumps({"alg": "dir", "enc": "A128GCM"})), b"", payload, payload, signature)),
    )
    flat: dict[str, Json] = {
        "protected": header_.decode(),
        "payload": payload.decode(),
        "signature": signature.decode(),
    }
    yield "extension-json-flattened", dumps(flat)
    yield "extension-json-general", dumps({"payload": payload.decode(), "signatures": [flat]})


def types(m: Material) -> Tokens:
    """Yields rows of J7: tokens signed for another purpose."""
    names = (
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "vc+sd-jwt",
        "JWE",
        "JOSE",
        "",
        "JWT ",
        " JWT",
        "text/jwt",
        "jwt/jwt",
    )
    for name in (*names, "application/dpop+jwt", "application/application/jwt", "JWT\0", "t" * 257):
        yield f"typ-{ascii(name[:24])[1:-1] or 'empty'}", m.token({"typ": name})
    untyped: dict[str, Json] = {"null": None, "number": 1, "list": ["JWT"], "object": {"typ": "JWT"}, "true": True}
    for name, value in untyped.items():
        yield f"typ-{name}", m.token({"typ": value})


def dates(m: Material) -> Tokens:
    """Yields rows of J8, J9: NumericDates, for a gateway with 30 s of leeway and sessions of 24 h at most."""
    exp = str(m.now + 600)
    wide = "".join(chr(0xFF10 + int(digit)) for digit in exp)
    texts = {
        "null": "null",
        "true": "true",
        "string": f'"{exp}"',
        "float-string": f'"{exp}.0"',
        "full-width": f'"{wide}"',
        "list": f"[{exp}]",
        "object": f'{{"$date":{exp}}}',
        "iso": '"2099-01-01T00:00:00Z"',
        "nan": "NaN",
        "infinity": "Infinity",
        "overflow": "1e400",
        "1e300": "1e300",
        "negative": "-1",
        "negative-infinity": "-1e400",
        "2-to-53-plus-1": str(2**53 + 1),
        "2-to-64": str(2**64),
        "300-digits": "9" * 300,
        "5000-digits": "9" * 5000,
        "hexadecimal": "0x7fffffff",
        "leading-zero": f"0{exp}",
        "plus": f"+{exp}",
        "full-width-bare": wide,
        "underscores": "1_900_000_000",
        "trailing-point": f"{exp}.",
    }
    for claim in ("exp", "nbf", "iat"):
        for name, text in texts.items():
            yield f"{claim}-{name}", m.spelled(claim, text)
    yield "exp-absent", m.without("exp")
    yield "exp-zero", m.token(exp=0)
    yield "exp-at-leeway", m.token(exp=m.now - 30)
    yield "exp-milliseconds", m.token(exp=(m.now + 600) * 1000)
    yield "exp-beyond-lifetime", m.token(exp=m.now + 90_000)
    yield "exp-year-9999", m.token(exp=253402300799)
    yield "exp-2-to-53", m.token(exp=2**53)
    yield "nbf-in-an-hour", m.token(nbf=m.now + 3_600)
    yield "iat-in-an-hour", m.token(iat=m.now + 3_600)
    yield "iat-milliseconds", m.token(iat=m.now * 1000)


def parties(m: Material) -> Tokens:
    """Yields rows of J10: issuer and audience, compared exactly and whole."""
    for claim, ours in (("iss", m.issuer), ("aud", m.audience)):
        others: dict[str, Json] = {
            "prefix": ours[:-1],
            "suffix": ours + "x",
            "slash": ours + "/",
            "case": ours.swapcase(),
            "empty": "",
            "space": ours + " ",
            "nul": ours + "\0",
            "zero-width": ours + "\u200b",
            "userinfo": ours + "@evil.test",
            "joined": f"{ours} other",
            "null": None,
            "number": 1,
            "true": True,
            "object": {ours: ours},
            "nested-list": [[ours]],
            "star": "*",
        }
        for name, value in others.items():
            yield f"{claim}-{name}", m.token(**{claim: value})
        yield f"{claim}-absent", m.without(claim)
    mixed: dict[str, Json] = {"number": [m.audience, 1], "null": [None, m.audience], "list": [m.audience, []]}
    for name, value in mixed.items():
        yield f"aud-mixed-{name}", m.token(aud=value)
    yield "aud-empty-list", m.token(aud=[])
    yield "aud-other-list", m.token(aud=["other", m.audience + "2"])
    yield "iss-list", m.token(iss=[m.issuer])
    yield "iss-is-aud", m.token(iss=m.audience, aud=m.issuer)


def subjects(m: Material) -> Tokens:
    """Yields rows of J11: names that are no names, or that look like another's."""
    texts = {
        "empty": "",
        "space": " ",
        "leading-space": " alice",
        "trailing-space": "alice ",
        "no-break-space": "alice\u00a0",
        "ideographic-space": "\u3000alice",
        "tab": "ali\tce",
        "nul": "alice\0",
        "crlf": "alice\r\nX-User: root",
        "escape": "\x1b[2Jalice",
        "delete": "alice\x7f",
        "c1-control": "alice\x85",
        "line-separator": "ali\u2028ce",
        "zero-width-space": "ali\u200bce",
        "zero-width-joiner": "ali\u200dce",
        "soft-hyphen": "ali\u00adce",
        "word-joiner": "ali\u2060ce",
        "byte-order-mark": "\ufeffalice",
        "bidi-override": "\u202eecila",
        "bidi-isolate": "\u2066alice\u2069",
        "tag": "alice\U000e0041",
        "variation-selector": "alice\ufe0f",
        "grapheme-joiner": "ali\u034fce",
        "hangul-filler": "alice\u3164",
        "braille-blank": "alice\u2800",
        "private-use": "alice\ue000",
        "noncharacter": "alice\uffff",
        "unassigned": "alice\u0378",
        "decomposed": "ame\u0301lie",
        "angstrom": "\u212bngstrom",
        "257-characters": "a" * 257,
        "2000-characters": "a" * 2000,
    }
    for name, text in texts.items():
        yield f"sub-{name}", m.token(sub=text)
    others = {"null": None, "fraction": 1.5, "true": True, "list": ["alice"], "object": {"id": "alice"}}
    for name, value in others.items():
        yield f"sub-{name}", m.token(sub=value)  # type: ignore[arg-type]
    yield "sub-lone-surrogate", m.spelled("sub", '"alice\\ud800"')
    yield "sub-reversed-surrogates", m.spelled("sub", '"\\udc00\\ud800"')
    yield "sub-absent", m.without("sub")
    for name, scope in {"number": 1, "null": None, "object": {"a": 1}, "true": True, "mixed-list": ["a", 1]}.items():
        yield f"scope-{name}", m.token(scope=scope)  # type: ignore[arg-type]


def json_faults(m: Material) -> Tokens:
    """Yields rows of J12: text with no meaning, or with more than one."""
    for part in ("header", "payload"):
        text = dumps(m.header if part == "header" else m.claims)

        def with_part(changed: bytes, part: str = part) -> bytes:
            return m.raw(changed, dumps(m.claims)) if part == "header" else m.raw(dumps(m.header), changed)

        inner = text[1:-1]
        variants = {
            "bom": b"\xef\xbb\xbf" + text,
            "utf-16-le": text.decode().encode("utf-16-le"),
            "utf-16-bom": text.decode().encode("utf-16"),
            "utf-32": text.decode().encode("utf-32-be"),
            "latin-1": b'{"x":"\xe9",' + inner + b"}",
            "overlong": b'{"x":"\xc0\xaf",' + inner + b"}",
            "encoded-surrogate": b'{"x":"\xed\xa0\x80",' + inner + b"}",
            "escaped-surrogate": b'{"x":"\\ud800",' + inner + b"}",
            "truncated": text[:-1],
            "trailing-object": text + b"{}",
            "trailing-comma": b"{" + inner + b",}",
            "trailing-nul": text + b"\0",
            "comment": text + b"/**/",
            "single-quotes": text.replace(b'"', b"'"),
            "bare-name": b"{x:1," + inner + b"}",
            "raw-control": b'{"x":"\n",' + inner + b"}",
            "bad-escape": b'{"x":"\\x41",' + inner + b"}",
            "nan": b'{"x":NaN,' + inner + b"}",
            "form-feed": b"\x0c" + text,
            "no-break-space": b"\xc2\xa0" + text,
            "array": b"[" + text + b"]",
            "string": json.dumps(text.decode()).encode(),
            "null": b"null",
            "number": b"1",
            "empty": b"",
            "empty-object": b"{}",
            "depth-17": b'{"x":' + b"[" * 16 + b"]" * 16 + b"," + inner + b"}",
            "depth-2000": b'{"x":' + b"[" * 1000 + b"]" * 1000 + b"," + inner + b"}",
            "unclosed-2000": b"[" * 2000,
            "nested-duplicate": b'{"x":{"y":1,"y":2},' + inner + b"}",
            "nested-escaped-duplicate": b'{"x":{"y":1,"\\u0079":2},' + inner + b"}",
        }
        for name, changed in variants.items():
            yield f"json-{part}-{name}", with_part(changed)
        for name, value in (m.header if part == "header" else m.claims).items():
            escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
            first, last = json.dumps(value).encode(), inner
            yield f"duplicate-{part}-{name}", with_part(b'{"%b":%b,%b}' % (name.encode(), first, last))
            yield f"duplicate-{part}-{name}-escaped", with_part(b'{%b,"%b":%b}' % (last, escaped.encode(), first))


def encodings(m: Material) -> Tokens:
    """Yields rows of J13: a second spelling of a genuine token, whose segments have each spelling."""
    # Members that bring `-` and `_` into the text, and segment lengths that leave bits over.
    lengths = (n for n in range(64))
    tokens = (m.token({"x": "~" * n}, x="\u00bf\u00ff???>>>" + "~" * n) for n in lengths)
    token = next(t for t in tokens if all(len(part) % 4 for part in t.split(b".")[:2]))
    parts = token.split(b".")
    for index, part in enumerate(parts):
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        spellings = {
            "padded": part + b"=" * (-len(part) % 4 or 4),
            "one-equals-sign": part + b"=",
            "inner-equals-sign": part[:4] + b"=" + part[4:],
            "space": part[:4] + b" " + part[4:],
            "newline": part[:4] + b"\n" + part[4:],
            "crlf": part[:4] + b"\r\n" + part[4:],
            "tab": part[:4] + b"\t" + part[4:],
            "nul": part[:4] + b"\0" + part[4:],
            "bang": part[:4] + b"!" + part[4:],
            "high-byte": part[:4] + b"\xc3\xa9" + part[4:],
            "percent": part[:4] + b"%%%02x" % part[4] + part[5:],
            "leading-space": b" " + part,
            "one-letter-more": part + b"A" * (1 if len(part) % 4 != 3 else 2),
        }
        if len(part) % 4:
            last = alphabet[alphabet.index(part[-1]) ^ 1]
            spellings["spare-bits"] = part[:-1] + bytes([last])
        for name, spelling in spellings.items():
            yield f"base64-{index}-{name}", b".".join((*parts[:index], spelling, *parts[index + 1 :]))
    yield "base64-standard-alphabet", token.translate(bytes.maketrans(b"-_", b"+/"))
    yield "segments-one", parts[0]
    yield "segments-two", b".".join(parts[:2])
    yield "segments-four", token + b".e30"
    yield "segments-empty-fourth", token + b"."
    yield "segments-leading-dot", b"." + token
    yield "segments-only-dots", b".."
    yield "segments-full-width-dot", token.replace(b".", "\uff0e".encode())
    yield "segments-encoded-dot", token.replace(b".", b"%2e")


def sizes(m: Material) -> Tokens:
    """Yields rows of J14: nothing over 8 KiB is decoded."""
    over = (8 * 1024 - len(m.token(x=""))) * 3 // 4 + 3
    yield "size-8-KiB-and-a-bit", m.token(x="a" * over)
    yield "size-10-KiB", m.token(x="a" * 7_000)
    yield "size-100-kB", m.token(x="a" * 75_000)
    yield "size-dots", b"." * 8_000
    yield "size-a-million-dots", b"." * 1_000_000
    yield "size-huge-kid", m.token({"kid": "k" * 50_000})


def schemes(m: Material) -> Iterator[Row]:
    """Yields rows of J15, J16: one field, one scheme, one token; and fal's own keys."""
    token = m.token()
    twice = {
        "good-good": (b"Bearer " + token, b"Bearer " + token),
        "good-bad": (b"Bearer " + token, b"Bearer x"),
        "bad-good": (b"Basic eDp5", b"Bearer " + token),
        "key-bearer": (b"Key " + token, b"Bearer " + token),
        "empty-good": (b"", b"Bearer " + token),
        "three": (b"Bearer " + token,) * 3,
    }
    yield from (Row(f"twice-{name}", values, 400) for name, values in twice.items())
    values = {
        "empty": b"",
        "bare": token,
        "scheme-alone": b"Bearer",
        "scheme-and-space": b"Bearer ",
        "key-alone": b"Key",
        "basic": b"Basic eDp5",
        "basic-token": b"Basic " + token,
        "digest": b'Digest username="x"',
        "negotiate": b"Negotiate " + token,
        "dpop": b"DPoP " + token,
        "token": b"Token " + token,
        "jwt": b"JWT " + token,
        "no-space": b"Bearer" + token,
        "colon": b"Bearer: " + token,
        "equals": b"Bearer=" + token,
        "tab": b"Bearer\t" + token,
        "two-spaces": b"Bearer  " + token,
        "leading-space": b" Bearer " + token,
        "trailing-space": b"Bearer " + token + b" ",
        "trailing-newline": b"Bearer " + token + b"\n",
        "trailing-comma": b"Bearer " + token + b",",
        "twice": b"Bearer Bearer " + token,
        "key-bearer": b"Key Bearer " + token,
        "two-tokens": b"Bearer " + token + b" " + token,
        "list-good-good": b"Bearer " + token + b", Bearer " + token,
        "list-key-bearer": b"Key " + token + b", Bearer " + token,
        "list-basic": b"Basic eDp5, Bearer " + token,
        "parameter": b'Bearer token="' + token + b'"',
        "after-parameter": b'Bearer realm="x", ' + token,
        "quoted": b'Bearer "' + token + b'"',
        "full-width": "\uff22earer ".encode() + token,
        "kelvin-sign": "\u212aey ".encode() + token,
        "nul": b"Bearer\0 " + token,
        "fal-key": b"Key " + FAL_KEY,
        "fal-key-bearer": b"Bearer " + FAL_KEY,
        "fal-key-and-token": b"Key " + FAL_KEY + b"." + token,
        "fal-key-list": b"Key " + FAL_KEY + b", Bearer " + token,
        "fal-key-id": b"Key " + FAL_KEY.partition(b":")[0],
    }
    yield from (Row(f"scheme-{name}", (value,)) for name, value in values.items())
