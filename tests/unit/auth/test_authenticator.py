"""Tokens that are accepted, those that are not, for how long, and that no two share an identity."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_tokens import FAL_KEY, Material, Row, fresh, rows
from support.identities import Identifier

from proxy.auth.caller import Caller
from proxy.auth.keys.hmac_secret import hmac_key
from proxy.auth.keys.key_source import StaticKeys
from proxy.auth.keys.public_key import public_key
from proxy.auth.keys.verification_key import VerificationKey
from proxy.auth.sessions.issuer import Issuer
from proxy.errors import BadRequest, Refusal, Unauthenticated
from proxy.strict_json import Json

NOW = 1_800_000_000
LEEWAY = 30
ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
MATERIALS = {
    algorithm: fresh(algorithm, issuer="https://login.example", audience="fal-proxy", now=NOW, kid="key-1")
    for algorithm in ALGORITHMS
}
M = MATERIALS["HS256"]
UNNAMED = replace(M, kid=None)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


def verification_key(material: Material) -> VerificationKey:
    if material.public:
        return public_key(material.algorithm, material.public, material.kid)
    return hmac_key(material.key, material.kid)


def build_issuer(*materials: Material, **settings_: float) -> Issuer:
    keys = tuple(verification_key(material) for material in materials)
    return Issuer(materials[0].issuer, (materials[0].audience,), StaticKeys(keys), **settings_)  # type: ignore[arg-type]


def authenticator(*materials: Material, clock: Clock | None = None, cache_size: int = 10_000) -> Identifier:
    return Identifier([build_issuer(*materials)], clock=clock or Clock(), cache_size=cache_size)


def identify(who: Identifier, *values: bytes) -> Caller:
    other = ((b"host", b"gateway.example"), (b"x-authorization", b"Bearer x"), (b"proxy-authorization", b"Bearer x"))
    return who.identify([*other, *((b"authorization", value) for value in values)])


def admitted(token: bytes, *materials: Material, now: float = NOW) -> Caller:
    return identify(authenticator(*(materials or (M,)), clock=Clock(now)), b"Bearer " + token)


# --- who gets in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_caller(algorithm: str) -> None:
    """A genuine token of each algorithm tells issuer, subject, scopes, end and the plain claims."""
    material = MATERIALS[algorithm]
    token = material.token(scope="queue:submit  queue:read", plan="pro", seats=3, groups=["a", "b"], address={"a": 1})
    caller = admitted(token, material)
    assert (caller.issuer, caller.subject) == ("https://login.example", "mallory")
    assert caller.scopes == {"queue:submit", "queue:read"}
    assert caller.expires == NOW + 600
    assert caller.claims["plan"] == "pro"
    assert caller.claims["seats"] == 3
    assert caller.claims["groups"] == ("a", "b")
    assert caller.claims["address.a"] == 1


def test_a_session_holds_as_long_as_its_token_is_taken() -> None:
    """A session ends after its issuer's leeway: a stream ends when a new request would be refused."""
    who = Identifier([build_issuer(M, leeway=7)], clock=Clock())

    assert who.authenticator.session_expiry(identify(who, b"Bearer " + M.token())) == NOW + 607


def test_a_caller_does_not_change() -> None:
    """A verified caller and its claims cannot be written to afterwards."""
    caller = admitted(M.token(groups=["a"]))
    with pytest.raises(AttributeError):
        caller.subject = "root"  # type: ignore[misc]
    with pytest.raises(TypeError):
        caller.claims["groups"] = ("root",)  # type: ignore[index]


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"Key", b"key", b"kEY"])
def test_schemes(scheme: bytes) -> None:
    """RFC 6750's scheme and fal's, in any case (RFC 9110 section 11.1)."""
    assert identify(authenticator(M), scheme + b" " + M.token()).subject == "mallory"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+JWT"])
def test_types(typ: str) -> None:
    """Sessions and OAuth access tokens are let in; the media type has no case."""
    assert admitted(M.token({"typ": typ})).subject == "mallory"


def test_no_type() -> None:
    """A token without typ is let in, unless the configured types leave that out."""
    token = M.raw(json.dumps({"alg": "HS256"}).encode(), json.dumps(M.claims).encode())
    assert admitted(token).subject == "mallory"
    strict = Identifier([replace(build_issuer(M), types=("at+jwt",))], clock=Clock())
    assert identify(strict, b"Key " + M.token({"typ": "at+jwt"})).subject == "mallory"
    for refused in (token, M.token()):
        with pytest.raises(Unauthenticated, match="typ"):
            identify(strict, b"Key " + refused)


@pytest.mark.parametrize("audience", ["fal-proxy", ["fal-proxy"], ["other", "fal-proxy"]], ids=str)
def test_audiences(audience: Json) -> None:
    """aud is a string or a list of strings with ours among them (RFC 7519 section 4.1.3)."""
    assert admitted(M.token(aud=audience)).subject == "mallory"


@pytest.mark.parametrize(
    "subject",
    [
        "a",
        "a" * 256,
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "jos\u00e9@example.com",
        "\u0645\u062d\u0645\u062f",
        "山田 太郎",
        "../a:b*",
        "😀",
    ],
    ids=ascii,
)
def test_subjects(subject: str) -> None:
    """A subject is any 1 to 256 characters that can be seen, in normal form C."""
    assert admitted(M.token(sub=subject)).subject == subject


@pytest.mark.parametrize(
    ("scope", "expected"),
    [("", set()), ("a", {"a"}), ("a b a", {"a", "b"}), ([], set()), (["a", "b c"], {"a", "b c"}), (" a\tb ", {"a\tb"})],
    ids=lambda value: repr(sorted(value)) if isinstance(value, set) else repr(value),
)
def test_scopes(scope: Json, expected: set[str]) -> None:
    """Scopes come as one string, split at spaces alone, or as a list."""
    assert admitted(M.token(scope=scope)).scopes == expected


def test_the_scope_claim_is_configured() -> None:
    """Issuers that call it otherwise are read by that name, and the standard name means nothing then."""
    who = Identifier([replace(build_issuer(M), scope_claim="scp")], clock=Clock())
    assert identify(who, b"Key " + M.token(scope="a", scp=["b"])).scopes == {"b"}


def test_numeric_dates_may_have_fractions() -> None:
    """A NumericDate is any JSON number (RFC 7519 section 2): fractions and exponents count."""
    assert admitted(M.spelled("exp", f"{NOW}.5")).expires == NOW + 0.5
    assert admitted(M.spelled("exp", "1.8000006e9")).expires == NOW + 600


# --- who does not -----------------------------------------------------------------------------------------------------

HOSTILE = [
    pytest.param(algorithm, row, id=f"{algorithm}-{row.id}")
    for algorithm in ALGORITHMS
    for row in rows(MATERIALS[algorithm])
]


@pytest.fixture(scope="module")
def identifiers() -> dict[str, Identifier]:
    """One identifier an algorithm for all hostile rows, with a genuine token in its cache."""
    made = {algorithm: authenticator(material) for algorithm, material in MATERIALS.items()}
    for algorithm, who in made.items():
        assert identify(who, b"Bearer " + MATERIALS[algorithm].token()).subject == "mallory"
    return made


@pytest.mark.parametrize(("algorithm", "row"), HOSTILE)
def test_hostile_tokens(identifiers: dict[str, Identifier], algorithm: str, row: Row) -> None:
    """Every hostile row gets its 401 or 400, twice over, in words that repeat nothing of it."""
    for _ in range(2):
        with pytest.raises(Refusal) as caught:
            identify(identifiers[algorithm], *row.values)
        assert caught.value.status == row.status
        assert caught.value.headers == (((b"www-authenticate", b"Bearer"),) if row.status == 401 else ())
        words = f"{caught.value} {caught.value.detail} {caught.value.reason}".encode()
        assert not any(chunk in words for value in row.values for chunk in re.findall(rb"[\w.%+/=-]{20,}", value))


def test_there_are_enough_rows() -> None:
    """The table is as large as promised, and no row stands in it twice."""
    names = [row.id for row in rows(M)]
    assert len(names) == len(set(names)) > 400


REASONS = {
    "exp-": "exp|has expired|strict JSON|a segment",
    "nbf-": "nbf|strict JSON",
    "iat-": "iat|strict JSON",
    "iss-": "iss is not a configured issuer",
    "aud-": "aud does not name this service",
    "sub-": "sub|strict JSON",
    "scope-": "scope claim",
    "typ-": "typ",
    "kid-": "kid",
    "inject-": "header has|no key of the issuer",
    "duplicate-": "duplicate member",
    "base64-": "canonical base64url|strict JSON|signature",
    "segments-": "three segments|strict JSON|canonical base64url",
    "confusion-": "no key of the issuer|signature does not verify",
    "signature-": "signature does not verify",
}


@pytest.mark.parametrize("prefix", REASONS)
def test_rows_fail_for_what_they_are(prefix: str) -> None:
    """A row is refused for the fault it is named after."""
    matching = [row for row in rows(M) if row.id.startswith(prefix)]
    assert len(matching) >= 5
    for row in matching:
        with pytest.raises(Unauthenticated, match=REASONS[prefix]):
            identify(authenticator(M), *row.values)


def test_no_authorization() -> None:
    """Without the header there is no caller; look-alike headers are not read."""
    with pytest.raises(Unauthenticated, match="no Authorization header"):
        identify(authenticator(M))
    with pytest.raises(Unauthenticated, match="no Authorization header"):
        authenticator(M).identify([(b"cookie", b"authorization=Bearer " + M.token()), (b"x-fal-key", M.token())])


@pytest.mark.parametrize("scheme", [b"Key ", b"Bearer "])
def test_a_fal_key_is_told_from_a_token(scheme: bytes) -> None:
    """A caller's own fal key opens nothing and is named as such, but never repeated."""
    with pytest.raises(Unauthenticated, match=r"^a fal key where a session token belongs$"):
        identify(authenticator(M), scheme + FAL_KEY)


def test_ten_megabytes() -> None:
    """A header of any size is refused by its length alone."""
    with pytest.raises(Unauthenticated, match="Authorization header is too long"):
        identify(authenticator(M), b"Bearer " + b"a" * 10_000_000)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"authorization", b"host"]),
            st.binary(max_size=80)
            | st.tuples(st.sampled_from([b"Bearer ", b"Key "]), st.binary(max_size=80)).map(b"".join)
            | st.integers(0, 300).map(lambda cut: b"Bearer " + M.token()[:cut] + b"." + M.token()[cut + 1 :]),
        ),
        max_size=3,
    )
)
def test_no_bytes_break_it(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Any bytes at all give a genuine caller, BadRequest or Unauthenticated: never another error."""
    with suppress(BadRequest, Unauthenticated):
        caller = authenticator(M).identify(headers)
        assert [value for name, value in headers if name == b"authorization"] == [b"Bearer " + M.token()]
        assert caller.subject == "mallory"


# --- which key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "sent", "good"),
    [
        ((None,), None, True),
        ((None,), "any", True),
        (("a",), None, True),
        (("a",), "a", True),
        (("a",), "b", False),
        (("a",), "", False),
        (("a", "b"), "a", True),
        (("a", "b"), "b", False),
        (("a", "b"), "c", False),
        (("a", "b"), None, True),
    ],
)
def test_kids(configured: tuple[str | None, ...], sent: str | None, good: bool) -> None:
    """A kid must be equal; a token without one is verified with every secret.

    It is signed with the first one.
    """
    others = (MATERIALS["HS256"], fresh("HS256", issuer=M.issuer, audience=M.audience, now=NOW))
    materials = [replace(material, kid=kid) for material, kid in zip(others, configured, strict=False)]
    token = replace(materials[0], kid=sent).token()
    if good:
        assert admitted(token, *materials).subject == "mallory"
        return
    with pytest.raises(Unauthenticated):
        admitted(token, *materials)


def test_rotation() -> None:
    """Old and new key of one issuer both verify, each under its own kid and alg."""
    old, new = replace(MATERIALS["RS256"], kid="old"), replace(MATERIALS["ES256"], kid="new")
    assert admitted(old.token(), old, new).subject == admitted(new.token(), old, new).subject == "mallory"
    for crossed in (replace(old, kid="new"), replace(new, kid="old")):
        with pytest.raises(Unauthenticated, match="no key of the issuer"):
            admitted(crossed.token(), old, new)


class CountingKey(VerificationKey):
    """Counts what it verifies."""

    __slots__ = ()
    calls = 0

    def verify(self, signing_input: bytes, signature: bytes) -> bool:
        CountingKey.calls += 1
        return super().verify(signing_input, signature)


def spoilt(token: bytes) -> bytes:
    """Returns *token* with another last character, canonical base64url too.

    One token in sixteen already ends with the first choice.
    """
    return token[:-1] + (b"E" if token.endswith(b"A") else b"A")


@pytest.mark.parametrize(
    "token",
    [M.token({"kid": "unknown"}), M.token({"alg": "HS512"}), spoilt(M.token()), M.token(sub="")],
    ids=["no-such-kid", "other-alg", "bad-signature", "bad-claims"],
)
def test_one_verification_a_request(token: bytes) -> None:
    """An unknown kid costs what a bad signature costs, exactly one verification, and gets the same answer."""
    CountingKey.calls = 0
    counted = CountingKey("HS256", "key-1", M.key)
    who = Identifier([Issuer(M.issuer, (M.audience,), StaticKeys((counted,)))], clock=Clock())
    with pytest.raises(Unauthenticated) as caught:
        identify(who, b"Bearer " + token)
    assert CountingKey.calls == 1
    assert (caught.value.status, caught.value.detail, caught.value.error_type) == (
        401,
        "Sign in again: this call has no valid session token",
        "unauthenticated",
    )


def test_two_issuers() -> None:
    """Each issuer signs with its own keys for its own callers.

    The same subject of two issuers is two callers.
    """
    other = fresh("ES256", issuer="https://other.example", audience="fal-proxy", now=NOW, kid="key-1")
    who = Identifier([build_issuer(M), build_issuer(other)], clock=Clock())
    ours, theirs = identify(who, b"Key " + M.token()), identify(who, b"Key " + other.token())
    assert ours.subject == theirs.subject
    assert ours.key != theirs.key
    for forged in (M.token(iss=other.issuer), other.token(iss=M.issuer)):
        with pytest.raises(Unauthenticated):
            identify(who, b"Key " + forged)


def test_the_callers_key() -> None:
    """The store key is a digest of issuer and subject that no other pair shares, however the two are cut."""
    assert admitted(M.token()).key == sha256(b"\0\0\0\x15https://login.examplemallory").hexdigest()
    keys = set()
    for issuer, subject in (("ab", "c"), ("a", "bc"), ("abc", "ab"), ("abca", "b")):
        material = replace(M, issuer=issuer)
        keys.add(admitted(material.token(sub=subject), material).key)
    assert len(keys) == 4


# --- for how long -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "offset", "good"),
    [
        ({"exp": NOW}, LEEWAY - 1, True),
        ({"exp": NOW}, LEEWAY - 0.001, True),
        ({"exp": NOW}, LEEWAY, False),
        ({"exp": NOW}, LEEWAY + 1, False),
        ({"exp": NOW + 86_400}, 0, True),
        ({"exp": NOW + 86_400}, -0.5, False),
        ({"exp": NOW + 86_401}, 0, False),
        ({"nbf": NOW + LEEWAY}, 0, True),
        ({"nbf": NOW + LEEWAY}, -0.5, False),
        ({"nbf": NOW + LEEWAY + 1}, 0, False),
        ({"iat": NOW + LEEWAY}, 0, True),
        ({"iat": NOW + LEEWAY + 1}, 0, False),
        ({"nbf": NOW - 5, "iat": NOW + LEEWAY + 1}, 0, False),
        ({"nbf": 0, "iat": 0}, 0, True),
    ],
    ids=str,
)
def test_clock_boundaries(claims: dict[str, Json], offset: float, good: bool) -> None:
    """Times hold exactly: exp == now - leeway is over, nbf == now + leeway is not."""
    if good:
        assert admitted(M.token(**claims), now=NOW + offset).subject == "mallory"
        return
    with pytest.raises(Unauthenticated):
        admitted(M.token(**claims), now=NOW + offset)


def test_configured_leeway_and_lifetime() -> None:
    """No leeway is possible, and so is a short longest lifetime."""
    strict = Identifier([build_issuer(M, leeway=0, max_lifetime=60)], clock=Clock())
    assert identify(strict, b"Key " + M.token(exp=NOW + 60)).expires == NOW + 60
    for claims in ({"exp": NOW}, {"exp": NOW + 61}, {"exp": NOW + 60, "nbf": NOW + 1}):
        with pytest.raises(Unauthenticated):
            identify(strict, b"Key " + M.token(**claims))


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["true", "null", f'"{NOW}"', "-1", "-0.001", str(2**53 + 1), "1e300", "[]"])
def test_numeric_dates(claim: str, value: str) -> None:
    """A date that is no number from 0 to 2^53 is called that, before it is compared with anything."""
    with pytest.raises(Unauthenticated, match=f"^{claim} is not a NumericDate$"):
        admitted(M.spelled(claim, value))


FAULTY: dict[str, tuple[dict[str, object], str]] = {
    "no-name": ({"issuer": ""}, "an issuer needs a name"),
    "empty-audience": ({"audience": ("",)}, "an audience is not empty"),
    "no-audience": ({"audience": ()}, "require must pin one of appid, azp, cid, client_id"),
    "leeway-negative": ({"leeway": -1}, "leeway must be 0 to 120 seconds"),
    "leeway-121": ({"leeway": 121}, "leeway must be 0 to 120 seconds"),
    "leeway-nan": ({"leeway": float("nan")}, "leeway must be 0 to 120 seconds"),
    "lifetime-zero": ({"max_lifetime": 0}, "more than 0 seconds"),
    "lifetime-nan": ({"max_lifetime": float("nan")}, "more than 0 seconds"),
}


@pytest.mark.parametrize(("changes", "reason"), FAULTY.values(), ids=FAULTY)
def test_faulty_issuers(changes: dict[str, object], reason: str) -> None:
    """An issuer whose parts do not fit together does not come into being."""
    with pytest.raises(ValueError, match=reason):
        replace(build_issuer(M), **changes)  # type: ignore[arg-type]


def test_faulty_authenticators() -> None:
    """A secret beside public keys of one issuer, and a cache of nothing, are mistakes."""
    with pytest.raises(ValueError, match="cannot serve one issuer"):
        Identifier([build_issuer(M), build_issuer(MATERIALS["RS256"])], clock=Clock())
    with pytest.raises(ValueError, match="needs a key"):
        StaticKeys(())
    with pytest.raises(ValueError, match="cannot serve one issuer"):
        StaticKeys((verification_key(M), verification_key(replace(MATERIALS["RS256"], kid="b"))))
    with pytest.raises(ValueError, match="share subject_claim"):
        Identifier([build_issuer(M), replace(build_issuer(M), subject_claim="uid")], clock=Clock())
    with pytest.raises(ValueError, match="at least 1"):
        authenticator(M, cache_size=0)


# --- the memory of verified tokens ------------------------------------------------------------------------------------


def counting(clock: Clock, cache_size: int = 10_000) -> Identifier:
    CountingKey.calls = 0
    key = CountingKey("HS256", "key-1", M.key)
    return Identifier([Issuer(M.issuer, (M.audience,), StaticKeys((key,)))], clock=clock, cache_size=cache_size)


def test_a_token_is_verified_once() -> None:
    """The same token again, by either scheme, is the same caller without another verification."""
    who = counting(Clock())
    first = identify(who, b"Bearer " + M.token())
    assert identify(who, b"Bearer " + M.token()) is identify(who, b"Key " + M.token()) is first
    assert CountingKey.calls == 1


def test_failures_are_not_remembered() -> None:
    """A token refused for its time is verified again, and accepted once its time has come."""
    clock = Clock(NOW - 3_600)
    who = counting(clock)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            identify(who, b"Key " + M.token())
    clock.now = NOW
    assert identify(who, b"Key " + M.token()).subject == "mallory"
    assert CountingKey.calls == 3


def test_an_entry_dies_at_exp() -> None:
    """Up to exp the memory answers.

    From exp to the end of the leeway each request is verified; then it is over.
    """
    clock = Clock()
    who = counting(clock)
    for now, calls in ((NOW, 1), (NOW + 599.999, 1), (NOW + 600, 2), (NOW + 600, 3), (NOW + 629.999, 4)):
        clock.now = now
        assert identify(who, b"Key " + M.token()).subject == "mallory"
        assert CountingKey.calls == calls
    clock.now = NOW + 630
    with pytest.raises(Unauthenticated, match="expired"):
        identify(who, b"Key " + M.token())


def test_an_entry_does_not_precede_nbf() -> None:
    """A clock that steps back before nbf shuts a remembered token out again."""
    clock = Clock()
    who = counting(clock)
    token = M.token(nbf=NOW)
    assert identify(who, b"Key " + token).subject == "mallory"
    clock.now = NOW - LEEWAY
    assert identify(who, b"Key " + token).subject == "mallory"
    assert CountingKey.calls == 1
    clock.now = NOW - LEEWAY - 0.001
    with pytest.raises(Unauthenticated, match="nbf or iat"):
        identify(who, b"Key " + token)


def test_the_oldest_entry_makes_room() -> None:
    """At its cap the memory drops the token it has known longest, and only that one."""
    who = counting(Clock(), cache_size=2)
    first, second, third = (M.token(sub=name) for name in ("a", "b", "c"))
    for token in (first, second, first, third, second, third):
        identify(who, b"Key " + token)
    assert CountingKey.calls == 3
    identify(who, b"Key " + first)
    assert CountingKey.calls == 4
    identify(who, b"Key " + third)
    assert CountingKey.calls == 4


def test_a_token_in_its_leeway_takes_no_room() -> None:
    """A token past its exp is let in without pushing a live one out of the memory."""
    who = counting(Clock(), cache_size=1)
    live, ending = M.token(sub="a"), M.token(sub="b", exp=NOW - 1)
    for token in (live, ending, ending, live):
        identify(who, b"Key " + token)
    assert CountingKey.calls == 3


def test_every_character_counts() -> None:
    """A remembered token with any one character changed is another token, and refused."""
    who, token = authenticator(M), M.token()
    identify(who, b"Key " + token)
    for place, letter in enumerate(token):
        other = b"B" if letter == ord("A") else b"A"
        with pytest.raises(Unauthenticated):
            identify(who, b"Key " + token[:place] + other + token[place + 1 :])


def test_a_full_memory_stays_its_size() -> None:
    """Any number of callers takes no more room than the cap, dead entries included."""
    clock = Clock()
    who = authenticator(M, clock=clock, cache_size=10)
    for number in range(50):
        clock.now = NOW + number
        identify(who, b"Key " + M.token(sub=f"user-{number}", exp=NOW + number + 1))
    assert len(who.verifier._sessions) == 10


FILLER = "x" * 1_500  # of nearly equal tokens, the two that differ least: over 90 % of them is this


@settings(deadline=None)
@given(st.data())
def test_tokens_that_share_nine_tenths(data: st.DataObject) -> None:
    """A token that shares most of a cached one never becomes its caller (CVE-2026-35030)."""
    names = data.draw(st.lists(st.text("abcdef", min_size=3, max_size=3), min_size=2, max_size=2, unique=True))
    genuine = {M.token(filler=FILLER, sub=name): name for name in names}
    who = authenticator(M)
    for token, name in genuine.items():
        assert identify(who, b"Bearer " + token).subject == name
    one, two = genuine
    assert sum(a == b for a, b in zip(one, two, strict=True)) > 0.9 * len(one)
    cut = data.draw(st.integers(0, len(one)))
    places = data.draw(st.sets(st.integers(0, len(one) - 1), max_size=len(one) // 10))
    letters = data.draw(st.text("AZaz09-_.", min_size=len(places), max_size=len(places)))
    changed = bytearray(one)
    for place, letter in zip(places, letters, strict=True):
        changed[place] = ord(letter)
    for other in (one[:cut] + two[cut:], two[:cut] + one[cut:], bytes(changed), one[:cut], one + b"A", one[cut:]):
        with suppress(Unauthenticated):
            assert identify(who, b"Bearer " + other).subject == genuine[other]


# --- revoked sessions and the cache -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_bits_never_share_an_identity(data: st.DataObject) -> None:
    """Of two tokens that differ in any bit at most one is this caller, also with the other one cached."""
    who = authenticator(M)
    token = M.token(sub="alice")
    assert identify(who, b"Bearer " + token).subject == "alice"
    place, bit = data.draw(st.integers(0, len(token) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(token)
    changed[place] ^= 1 << bit
    with suppress(Refusal):
        identify(who, b"Bearer " + bytes(changed))
        raise AssertionError("a changed token was accepted")


def test_a_revoked_session_leaves_the_cache() -> None:
    """A cached token is refused from its revocation on, and the other tokens of the user are not."""
    revoked: set[str] = set()
    who = Identifier([build_issuer(M)], clock=Clock())
    who.verifier._is_revoked = lambda caller: caller.token_id in revoked
    first, second = M.token(jti="a"), M.token(jti="b")
    for token in (first, second, first):
        identify(who, b"Key " + token)
    revoked.add("a")

    for _ in range(2):
        with pytest.raises(Unauthenticated, match="the session is revoked"):
            identify(who, b"Key " + first)
    assert identify(who, b"Key " + second).token_id == "b"
    assert len(who.verifier._sessions) == 1


def test_an_expired_session_leaves_the_cache() -> None:
    """The first use of a token after its end removes its entry."""
    clock = Clock()
    who = authenticator(M, clock=clock)
    identify(who, b"Key " + M.token())
    clock.now = NOW + 600
    identify(who, b"Key " + M.token())

    assert not who.verifier._sessions


def test_a_token_without_an_id_has_that_of_its_digest() -> None:
    """Any token can be revoked by itself."""
    token = M.token()

    assert admitted(token).token_id == sha256(token).hexdigest()
