"""Places of a request's session, and the cost of a failed login."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from support.hostile_tokens import Material, fresh
from support.identities import Identifier, completed
from support.sandbox import Clock

from proxy.auth.authenticator import Authenticator
from proxy.auth.keys.hmac_secret import hmac_key
from proxy.auth.keys.key_source import StaticKeys
from proxy.auth.sessions.issuer import Issuer
from proxy.auth.sessions.session_cookie import SessionCookie
from proxy.auth.token_verifier import TokenVerifier
from proxy.errors import BadRequest, Forbidden, Refusal, Unauthenticated, UnsupportedMediaType
from proxy.http.fields import Fields
from proxy.ratelimit.failed_logins import SPARE, LoginLimit

NOW = 1_800_000_000
ORIGIN = b"https://gate.example.com"
HEADER = b"cf-access-jwt-assertion"
APP = fresh("HS256", issuer="https://app.example", audience="fal-proxy", now=NOW)
EDGE = fresh("HS256", issuer="https://team.cloudflareaccess.example", audience="fal-proxy", now=NOW)
SAME, CROSS = (b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"cross-site")
JSON = (b"content-type", b"application/json")


def issuer(material: Material, header: bytes | None = None) -> Issuer:
    return Issuer(material.issuer, ("fal-proxy",), StaticKeys((hmac_key(material.key),)), header=header)


ISSUERS = [issuer(APP), issuer(EDGE, HEADER)]


def authenticator(failed: LoginLimit | None = None, clock: Clock | None = None) -> Authenticator:
    return Authenticator(
        TokenVerifier(ISSUERS, clock=clock or Clock(NOW)),
        cookies=[SessionCookie(b"__Host-session", frozenset({ORIGIN}))],
        headers=[HEADER],
        origins=frozenset({ORIGIN}),
        failed_logins=failed,
    )


def bearer(token: bytes) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + token


def platform(token: bytes) -> tuple[bytes, bytes]:
    return HEADER, token


def cookie(token: bytes) -> tuple[bytes, bytes]:
    return b"cookie", b"__Host-session=" + token


ALICE, BOB = APP.token(sub="alice"), APP.token(sub="bob")
EDGE_ALICE, EDGE_BOB = EDGE.token(sub="alice"), EDGE.token(sub="bob")

# Method, fields, and the subject or the refusal.
PLACES: dict[str, tuple[str, Fields, str | type[Refusal]]] = {
    "authorization": ("POST", [bearer(ALICE)], "alice"),
    "authorization-by-the-issuer-of-a-platform": ("POST", [bearer(EDGE_ALICE)], "alice"),
    "platform": ("GET", [platform(EDGE_ALICE), SAME], "alice"),
    "platform-post": ("POST", [platform(EDGE_ALICE), SAME, JSON], "alice"),
    "platform-by-origin": ("POST", [platform(EDGE_ALICE), (b"origin", ORIGIN), JSON], "alice"),
    "platform-cross-site": ("GET", [platform(EDGE_ALICE), CROSS], Forbidden),
    "platform-without-a-word": ("POST", [platform(EDGE_ALICE), JSON], Forbidden),
    "platform-form": ("POST", [platform(EDGE_ALICE), SAME], UnsupportedMediaType),
    "platform-of-another-issuer": ("GET", [platform(ALICE), SAME], Unauthenticated),
    "platform-with-a-scheme": ("GET", [platform(b"Bearer " + EDGE_ALICE), SAME], Unauthenticated),
    "platform-twice": ("GET", [platform(EDGE_ALICE), platform(EDGE_ALICE), SAME], BadRequest),
    "platform-and-the-same-token": ("POST", [bearer(EDGE_ALICE), platform(EDGE_ALICE)], "alice"),
    "platform-and-a-newer-token": ("POST", [bearer(EDGE.token(sub="alice", x=1)), platform(EDGE_ALICE)], "alice"),
    "platform-and-another-user": ("POST", [bearer(EDGE_BOB), platform(EDGE_ALICE)], Unauthenticated),
    # The same subject of two issuers is two users.
    "platform-and-another-issuer": ("POST", [bearer(ALICE), platform(EDGE_ALICE)], Unauthenticated),
    "platform-and-a-bad-token": ("POST", [bearer(b"a.b.c"), platform(EDGE_ALICE), SAME, JSON], Unauthenticated),
    "good-token-and-a-bad-platform": ("POST", [bearer(EDGE_ALICE), platform(b"a.b.c")], Unauthenticated),
    "platform-and-cookie-of-another": ("GET", [platform(EDGE_ALICE), cookie(BOB), SAME], Unauthenticated),
    "platform-and-cookie-of-the-same": ("GET", [platform(EDGE_ALICE), cookie(EDGE_ALICE), SAME], "alice"),
    "cookie": ("GET", [cookie(ALICE), SAME], "alice"),
    "cookie-cross-site": ("GET", [cookie(ALICE), CROSS], Forbidden),
    "authorization-and-a-cookie": ("POST", [bearer(ALICE), cookie(BOB), CROSS], "alice"),
    "bad-authorization-and-a-cookie": ("GET", [bearer(b"a.b.c"), cookie(ALICE), SAME], Unauthenticated),
    "other-field": ("GET", [(b"x-amzn-oidc-accesstoken", EDGE_ALICE), SAME], Unauthenticated),
    "nothing": ("GET", [], Unauthenticated),
}


@pytest.mark.parametrize(("method", "fields", "expected"), PLACES.values(), ids=PLACES)
def test_places(method: str, fields: Fields, expected: str | type[Refusal]) -> None:
    """One session, from the places that may carry one.

    Two that disagree are none, and ambient ones need our origin.
    """
    if isinstance(expected, str):
        assert completed(authenticator().authenticate(method, fields, "192.0.2.1")).subject == expected
        return
    with pytest.raises(expected):
        completed(authenticator().authenticate(method, fields, "192.0.2.1"))


def test_the_field_of_a_cached_token_counts() -> None:
    """A token that was good in Authorization is still none in the field of another issuer's platform."""
    who = authenticator()
    fields = [platform(ALICE), SAME]
    completed(who.authenticate("GET", [bearer(ALICE)], "192.0.2.1"))
    first = completed(who.authenticate("GET", [platform(EDGE_ALICE), SAME], "192.0.2.1"))

    assert completed(who.authenticate("GET", [platform(EDGE_ALICE), SAME], "192.0.2.1")) is first
    with pytest.raises(Unauthenticated, match="not a configured issuer"):
        completed(who.authenticate("GET", fields, "192.0.2.1"))


def test_two_tables_of_one_issuer() -> None:
    """The first table that takes a token counts.

    The reason of a refusal is that of the table whose key fits.
    """
    old, new = issuer(APP), replace(issuer(EDGE), issuer=APP.issuer, audience=("api",))
    identifier = Identifier([old, new], clock=Clock(NOW))
    edge = replace(EDGE, issuer=APP.issuer)

    assert identifier.identify([bearer(ALICE)]).subject == "alice"
    assert identifier.identify([bearer(edge.token(aud="api"))]).subject == "mallory"
    with pytest.raises(Unauthenticated, match="aud does not name"):
        identifier.identify([bearer(edge.token(aud="fal-proxy"))])
    with pytest.raises(Unauthenticated, match="signature"):
        identifier.identify([bearer(fresh("HS256", issuer=APP.issuer, audience="api", now=NOW).token())])


def test_integer_subjects() -> None:
    """A whole number becomes its digits; other numbers are no subject."""
    identifier = Identifier([issuer(APP), replace(issuer(EDGE), subject_claim="user.id")], clock=Clock(NOW))

    assert identifier.identify([bearer(APP.token(sub=42))]).subject == "42"
    assert identifier.identify([bearer(EDGE.token(user={"id": 7}))]).subject == "7"
    for value in (True, 1.5, 2**64, None):
        with pytest.raises(Unauthenticated):
            identifier.identify([bearer(APP.token(sub=value))])


# --- failed logins ----------------------------------------------------------------------------------------------------


@dataclass
class LimitedLogin:
    """An authenticator with a limit of three failed logins a minute."""

    clock: Clock = field(default_factory=lambda: Clock(NOW))

    def __post_init__(self) -> None:
        self.authenticator = authenticator(LoginLimit(3, 60, self.clock), self.clock)

    def status(self, token: bytes, address: str = "192.0.2.1") -> int:
        try:
            completed(self.authenticator.authenticate("POST", [bearer(token)], address))
        except Refusal as refusal:
            return refusal.status
        return 200


FORGED = ALICE[:-4] + b"AAAA"
COUNTED = {
    "forged": FORGED,
    "malformed": b"a.b.c",
    "opaque": b"gho_16C7e42F292c6912E7710c838347Ae178B4a",
    "foreign": replace(APP, issuer="https://other.example").token(),
    "fal-key": b"id:secret",
}
NOT_COUNTED = {
    "expired": APP.token(exp=NOW - 3600),
    "early": APP.token(nbf=NOW + 3600),
    "other-audience": APP.token(aud="other"),
    "no-subject": APP.token(sub=""),
}


@pytest.mark.parametrize("token", COUNTED.values(), ids=COUNTED)
def test_what_counts(token: bytes) -> None:
    """Forged, malformed and foreign tokens count, and over the limit they get 429."""
    login = LimitedLogin()

    assert [login.status(token) for _ in range(5)] == [401, 401, 401, 429, 429]
    assert login.status(token, "192.0.2.2") == 401


@pytest.mark.parametrize("token", NOT_COUNTED.values(), ids=NOT_COUNTED)
def test_what_does_not(token: bytes) -> None:
    """A genuine token that has expired, or is for something else, costs its address nothing."""
    login = LimitedLogin()

    assert [login.status(token) for _ in range(20)] == [401] * 20
    assert login.status(ALICE) == 200


def test_no_session_does_not_count() -> None:
    """Any page can make a browser send requests without a session."""
    login = LimitedLogin()
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            completed(login.authenticator.authenticate("GET", [], "192.0.2.1"))

    assert login.status(ALICE) == 200


def test_a_good_token_over_the_limit() -> None:
    """Over the limit known tokens pass, and a few new ones a second are still verified."""
    login = LimitedLogin()
    known = login.status(ALICE)
    for _ in range(10):
        login.status(b"a.b.c")
    still_known = login.status(ALICE)
    fresh_ones = [login.status(APP.token(sub=f"user-{number}")) for number in range(SPARE + 2)]
    login.clock.forward(1.2)

    assert (known, still_known) == (200, 200)
    assert fresh_ones == [200] * SPARE + [429] * 2
    assert login.status(APP.token(sub="later")) == 200


def test_garbage_does_not_use_up_the_spare_verifications() -> None:
    """Tokens that fail before cryptography leave them to others behind the same address."""
    login = LimitedLogin()
    for _ in range(200):
        login.status(b"a.b.c")

    assert login.status(BOB) == 200


def test_the_limit_passes() -> None:
    """After its window an address is as any other."""
    login = LimitedLogin()
    for _ in range(10):
        login.status(FORGED)
    login.clock.forward(70)

    assert login.status(FORGED) == 401
    assert [login.status(FORGED) for _ in range(3)] == [401, 401, 429]
