"""Tables for the pre-parse of tokens; no key is needed, because nothing here verifies."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile_tokens import b64, dumps

from proxy.auth.base64url import decode_base64url
from proxy.auth.sessions.jws import MAX_TEXT, MAX_TOKEN, Jws, parse_jws
from proxy.errors import Unauthenticated
from proxy.strict_json import Json

HEADER: dict[str, Json] = {"alg": "ES256", "typ": "JWT", "kid": "key-1"}
CLAIMS: dict[str, Json] = {"sub": "alice", "exp": 1_800_000_000, "roles": ["a", {"b": None}]}
SIGNATURE = b"any octets here: it is not verified"


def token(header: bytes = dumps(HEADER), payload: bytes = dumps(CLAIMS), signature: bytes = SIGNATURE) -> bytes:
    return b".".join((b64(header), b64(payload), b64(signature)))


def headed(**members: Json) -> bytes:
    return token(header=dumps(HEADER | members))


def test_the_parts_of_a_token() -> None:
    """A token has a signing input, a signature, claims and the three honoured header members."""
    assert parse_jws(token()) == Jws(
        algorithm="ES256",
        kid="key-1",
        type="jwt",
        claims=CLAIMS,
        signing_input=b64(dumps(HEADER)) + b"." + b64(dumps(CLAIMS)),
        signature=SIGNATURE,
    )


def test_a_minimal_token() -> None:
    """Only alg is required here: kid, typ, claims and the signature may be empty."""
    assert parse_jws(token(b'{"alg":"none"}', b"{}", b"")) == Jws(
        "none", None, None, {}, b"eyJhbGciOiJub25lIn0.e30", b""
    )


def test_white_space_in_json() -> None:
    """RFC 8259 allows white space around tokens, so some issuers' indented JSON is good."""
    assert parse_jws(token(json.dumps(HEADER, indent=2).encode(), b" {}\r\n")).claims == {}


@pytest.mark.parametrize(
    ("typ", "expected"),
    [
        ("JWT", "jwt"),
        ("jwt", "jwt"),
        ("at+JWT", "at+jwt"),
        ("application/at+jwt", "at+jwt"),
        ("Application/JWT", "jwt"),
    ],
)
def test_media_types(typ: str, expected: str) -> None:
    """A typ is a media type without case and `application/` (RFC 7515 section 4.1.9)."""
    assert parse_jws(headed(typ=typ)).type == expected


@pytest.mark.parametrize("name", ["x5t", "x5t#S256", "nonce", "crit2", "ALG"])
def test_foreign_header_members(name: str) -> None:
    """Members that are not understood are ignored, as RFC 7515 section 4 wants."""
    assert parse_jws(headed(**{name: "x"})).algorithm == "ES256"


@pytest.mark.parametrize("name", ["crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"])
@pytest.mark.parametrize("value", [None, True, "x", [], {}], ids=repr)
def test_refused_header_members(name: str, value: Json) -> None:
    """A member that changes what is verified, or brings a key, is refused with any value."""
    with pytest.raises(Unauthenticated, match=f"header has {name}$"):
        parse_jws(headed(**{name: value}))


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
@pytest.mark.parametrize("value", [None, True, 1, [], {}, "x" * (MAX_TEXT + 1)], ids=lambda v: repr(v)[:8])
def test_malformed_header_members(name: str, value: Json) -> None:
    """alg, kid and typ are strings of at most 256 characters, or the token is refused."""
    with pytest.raises(Unauthenticated, match=f"^{name} of the token's header is malformed$"):
        parse_jws(headed(**{name: value}))


@pytest.mark.parametrize("text", ["", "é", "\u0000", "x" * MAX_TEXT, "../../etc/passwd"], ids=ascii)
def test_any_short_string_is_a_kid(text: str) -> None:
    """A kid is opaque: it is handed on as it stands, to be compared."""
    assert parse_jws(headed(kid=text)).kid == text


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not three segments"),
    "dots": (b"." * 8, "not three segments"),
    "fourth-segment": (token() + b".", "not three segments"),
    "two-segments": (token().rpartition(b".")[0], "not three segments"),
    "json-serialization": (dumps({"protected": "e30"}), "not three segments"),
    "empty-header": (b"." + token().partition(b".")[2], "not strict JSON: not JSON"),
    "two-dots": (b"..", "not strict JSON: not JSON"),
    "no-alg": (token(b"{}"), "has no alg"),
    "header-list": (token(b"[]"), "not a JSON object"),
    "payload-string": (token(payload=b'"e30"'), "not a JSON object"),
    "payload-null": (token(payload=b"null"), "not a JSON object"),
    "payload-empty": (token(payload=b""), "not JSON"),
    "bom": (token(payload=b"\xef\xbb\xbf{}"), "not JSON"),
    "utf-16": (token(payload="{}".encode("utf-16")), "not UTF-8"),
    "latin-1": (token(payload=b'{"a":"\xff"}'), "not UTF-8"),
    "lone-surrogate": (token(payload=b'{"a":"\\ud800"}'), "lone surrogate"),
    "nan": (token(payload=b'{"a":NaN}'), "not JSON"),
    "overflow": (token(payload=b'{"a":1e400}'), "out of range"),
    "duplicate": (token(payload=b'{"a":1,"a":1}'), "duplicate"),
    "escaped-duplicate": (token(payload=b'{"a":1,"\\u0061":1}'), "duplicate"),
    "escaped-duplicate-alg": (token(b'{"alg":"ES256","\\u0061lg":"none"}'), "duplicate"),
    "nested-duplicate": (token(payload=b'{"a":{"b":1,"b":2}}'), "duplicate"),
    "trailing-data": (token(payload=b"{}{}"), "not JSON"),
}


@pytest.mark.parametrize(("hostile", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts(hostile: bytes, reason: str) -> None:
    """A token of anything but three segments of strict JSON and octets is refused, with the reason."""
    with pytest.raises(Unauthenticated, match=reason):
        parse_jws(hostile)


def test_the_depth_cap() -> None:
    """16 levels of nesting are read, 17 are not."""
    assert parse_jws(token(payload=b'{"a":' + b"[" * 15 + b"]" * 15 + b"}")).claims["a"]
    with pytest.raises(Unauthenticated, match="nested too deeply"):
        parse_jws(token(payload=b'{"a":' + b"[" * 16 + b"]" * 16 + b"}"))


def test_the_size_cap() -> None:
    """A token of 8 KiB is read, one of a byte more is not even split."""
    filler = MAX_TOKEN - len(token(signature=b""))
    signed = token(signature=b"") + b"A" * filler
    assert len(signed) == MAX_TOKEN
    assert len(parse_jws(signed).signature) == filler * 3 // 4
    with pytest.raises(Unauthenticated, match="too long"):
        parse_jws(signed + b"A")


@pytest.mark.parametrize("segment", [0, 1, 2])
@pytest.mark.parametrize("spelling", [b"%b=", b"%b==", b" %b", b"%b\n", b"%b!", b"%b\0", b"=%b", b"%bA"])
def test_foreign_spellings_of_a_segment(segment: int, spelling: bytes) -> None:
    """Padding, white space and stray characters make another spelling, which is refused."""
    parts = token(b'{"alg":"HS256"}', b'{"a":123}', b"octets: 9").split(b".")
    assert all(len(part) % 4 == 0 for part in parts)
    parts[segment] = spelling % parts[segment]
    with pytest.raises(Unauthenticated, match="not canonical base64url"):
        parse_jws(b".".join(parts))


@pytest.mark.parametrize("text", [b"A", b"AB", b"AAB", b"+/+/", b"-_+_", b"AAA=", b"AA AA", "\uff21\uff22".encode()])
def test_not_base64url(text: bytes) -> None:
    """Impossible lengths, spare bits, the standard alphabet and padding are no base64url."""
    with pytest.raises(ValueError, match=r"canonical|base64|padding"):
        decode_base64url(text)


@given(st.binary())
def test_octets_have_one_spelling(octets: bytes) -> None:
    """Every octet string is read back from its unpadded base64url."""
    assert decode_base64url(b64(octets)) == octets


@given(st.text(alphabet="AQgw159-_+/= \n", max_size=12).map(str.encode))
def test_a_spelling_is_the_only_one(text: bytes) -> None:
    """A text that decodes is exactly what its octets encode to, so no two texts decode alike."""
    try:
        octets = decode_base64url(text)
    except ValueError:
        return
    assert b64(octets) == text


@given(st.binary(max_size=64) | st.lists(st.binary(max_size=24).map(b64), min_size=3, max_size=3).map(b".".join))
def test_no_bytes_break_the_parser(noise: bytes) -> None:
    """Any bytes at all give a token or Unauthenticated."""
    with suppress(Unauthenticated):
        assert parse_jws(noise).algorithm
