from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.auth.sessions.session_cookie import MAX_COOKIES, SessionCookie, same_origin
from proxy.errors import Forbidden, HeadTooLarge, Refusal, Unauthenticated, UnsupportedMediaType
from proxy.http.fields import Fields

NAME = b"__Host-session"
HERE, ALSO_HERE = b"https://gate.example.com", b"https://www.example.com"
COOKIE = SessionCookie(NAME, frozenset({HERE, ALSO_HERE}))
TOKEN = b"eyJh.eyJz.c2ln"
SESSION = NAME + b"=" + TOKEN
SAME = (b"sec-fetch-site", b"same-origin")
JSON = (b"content-type", b"application/json")


def site(value: bytes) -> tuple[bytes, bytes]:
    return b"sec-fetch-site", value


def origin(value: bytes) -> tuple[bytes, bytes]:
    return b"origin", value


# --- which requests a page of ours sent -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """Fields beside the content type, and whether they may come with a read and with a write."""

    fields: Fields
    read: bool
    write: bool


SENDERS: dict[str, Sent] = {
    "same-origin": Sent([SAME], True, True),
    "same-origin-and-origin": Sent([SAME, origin(HERE)], True, True),
    "same-origin-at-another-name": Sent([SAME, origin(ALSO_HERE)], True, True),
    "origin-alone": Sent([origin(HERE)], True, True),
    "other-name-alone": Sent([origin(ALSO_HERE)], True, True),
    "neither": Sent([], True, False),
    "referer-is-nothing": Sent([(b"referer", HERE + b"/")], True, False),
    "same-site": Sent([site(b"same-site")], False, False),
    "cross-site": Sent([site(b"cross-site")], False, False),
    "typed-in": Sent([site(b"none")], False, False),
    "empty": Sent([site(b"")], False, False),
    "upper-case": Sent([site(b"Same-Origin")], False, False),
    "two-in-one": Sent([site(b"same-origin, same-origin")], False, False),
    "two-that-differ": Sent([site(b"cross-site, same-origin")], False, False),
    "quoted": Sent([site(b'"same-origin"')], False, False),
    "parameter": Sent([site(b"same-origin;a=1")], False, False),
    "longer": Sent([site(b"same-originx")], False, False),
    "unknown": Sent([site(b"same-party")], False, False),
    "not-ascii": Sent([site(b"same-origin\xff")], False, False),
    "contradiction": Sent([SAME, origin(b"https://evil.test")], False, False),
    "contradiction-null": Sent([SAME, origin(b"null")], False, False),
    "contradiction-empty": Sent([SAME, origin(b"")], False, False),
    "contradiction-other-way": Sent([site(b"cross-site"), origin(HERE)], False, False),
    "same-site-of-a-listed-name": Sent([site(b"same-site"), origin(ALSO_HERE)], False, False),
    "null": Sent([origin(b"null")], False, False),
    "empty-origin": Sent([origin(b"")], False, False),
    "slash": Sent([origin(HERE + b"/")], False, False),
    "default-port": Sent([origin(HERE + b":443")], False, False),
    "other-port": Sent([origin(HERE + b":8443")], False, False),
    "http": Sent([origin(b"http://gate.example.com")], False, False),
    "upper-case-origin": Sent([origin(b"https://GATE.example.com")], False, False),
    "dot": Sent([origin(b"https://gate.example.com.")], False, False),
    "suffix": Sent([origin(HERE + b".evil.test")], False, False),
    "prefix": Sent([origin(b"https://evilgate.example.com")], False, False),
    "subdomain": Sent([origin(b"https://a.gate.example.com")], False, False),
    "parent": Sent([origin(b"https://example.com")], False, False),
    "userinfo": Sent([origin(b"https://gate.example.com@evil.test")], False, False),
    "list": Sent([origin(HERE + b" https://evil.test")], False, False),
    "comma-list": Sent([origin(HERE + b", " + HERE)], False, False),
    "star": Sent([origin(b"*")], False, False),
}


@pytest.mark.parametrize("name", SENDERS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_who_sent_it(name: str, method: str) -> None:
    """Sec-Fetch-Site says it, else Origin, byte for byte; one may be missing, neither may deny it."""
    sent = SENDERS[name]
    if sent.read if method in ("GET", "HEAD") else sent.write:
        same_origin(method, [*sent.fields, JSON], COOKIE.origins)
        return
    with pytest.raises(Forbidden) as refused:
        same_origin(method, [*sent.fields, JSON], COOKIE.origins)

    assert refused.value.error_type == "cross_site"


CONTENT = {
    b"application/json": True,
    b"Application/JSON": True,
    b"application/json; charset=utf-8": True,
    b"": False,
    b"text/plain": False,
    b"text/plain; application/json": False,
    b"text/plain;charset=UTF-8": False,
    b"application/x-www-form-urlencoded": False,
    b"multipart/form-data; boundary=application/json": False,
    b"application/json, text/plain": False,
    b"application/json; charset=utf-7": False,
    b"application/jsonp": False,
    b"application/csp-report": False,
}


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("content", CONTENT)
def test_what_no_form_can_send(method: str, content: bytes) -> None:
    """All but reads are declared as JSON, with a body or without."""
    fields = [SAME, (b"cookie", SESSION), (b"content-type", content)]
    if CONTENT[content]:
        assert COOKIE.token(method, fields) == TOKEN
        return
    with pytest.raises(UnsupportedMediaType):
        COOKIE.token(method, fields)


def test_nothing_declared() -> None:
    """An empty cancel, too, says what its body is not; who sent it is looked at first."""
    with pytest.raises(UnsupportedMediaType):
        COOKIE.token("PUT", [SAME, (b"cookie", SESSION)])
    with pytest.raises(Forbidden):
        COOKIE.token("PUT", [site(b"cross-site"), (b"cookie", SESSION)])

    assert COOKIE.token("GET", [SAME, (b"cookie", SESSION)]) == TOKEN


# --- which cookie is the session --------------------------------------------------------------------------------------

# The Cookie fields of a request, and what is made of them: a token, nothing, or a refusal.
COOKIES: dict[str, tuple[list[bytes], bytes | type[Refusal] | None]] = {
    "alone": ([SESSION], TOKEN),
    "first": ([SESSION + b"; a=1; b=2"], TOKEN),
    "last": ([b"a=1; b=2; " + SESSION], TOKEN),
    "between": ([b"a=1; " + SESSION + b"; b=2"], TOKEN),
    "no-blanks": ([b"a=1;" + SESSION + b";b=2"], TOKEN),
    "blanks-and-tabs": ([b" \t a=1 ;\t " + SESSION + b" \t; b"], TOKEN),
    "empty-pairs": ([b";; ;" + SESSION + b";"], TOKEN),
    "in-a-field-of-its-own": ([b"a=1", SESSION, b"b=2"], TOKEN),
    "others-are-nobodys-business": ([b'a="x y"; b={"c": [1,2]}; d=\xff\xfe; e==; =f; ' + SESSION], TOKEN),
    "in-anothers-value": ([b"a=" + SESSION], None),
    "in-anothers-quotes": ([b'a="' + SESSION + b'"'], None),
    "quotes-do-not-hide-one": ([b'a="; ' + SESSION + b'; b="'], TOKEN),
    "comma-is-no-separator": ([b"a=1, " + SESSION], None),
    "none": ([b"a=1"], None),
    "no-field": ([], None),
    "empty-field": ([b""], None),
    "two": ([SESSION + b"; " + SESSION], Unauthenticated),
    "two-that-differ": ([SESSION + b"; " + NAME + b"=evil"], Unauthenticated),
    "two-fields": ([SESSION, SESSION], Unauthenticated),
    "two-one-empty": ([SESSION + b"; " + NAME + b"="], Unauthenticated),
    "two-one-without-equals": ([SESSION + b"; " + NAME], Unauthenticated),
    "two-one-with-a-blank": ([SESSION + b"; " + NAME + b" =evil.evil.evil"], Unauthenticated),
    "blank-before-equals": ([NAME + b" =" + TOKEN], Unauthenticated),
    "blank-after-equals": ([NAME + b"= " + TOKEN], Unauthenticated),
    "empty": ([NAME + b"="], Unauthenticated),
    "without-equals": ([NAME], Unauthenticated),
    "quoted": ([NAME + b'="' + TOKEN + b'"'], Unauthenticated),
    "single-quoted": ([NAME + b"='" + TOKEN + b"'"], Unauthenticated),
    "escaped": ([NAME + b"=" + TOKEN.replace(b".", b"%2E")], Unauthenticated),
    "bearer": ([NAME + b"=Bearer " + TOKEN], Unauthenticated),
    "fal-key": ([NAME + b"=a1b2:c3d4"], Unauthenticated),
    "padded": ([NAME + b"=" + TOKEN + b"="], Unauthenticated),
    "list": ([NAME + b"=" + TOKEN + b"," + TOKEN], Unauthenticated),
    "five-parts": ([NAME + b"=a.b.c.d.e"], Unauthenticated),
    "line-end": ([NAME + b"=" + TOKEN + b"\n"], Unauthenticated),
    "not-ascii": ([NAME + b"=" + TOKEN + b"\xc3\xa9"], Unauthenticated),
    "lower-case": ([b"__host-session=" + TOKEN], None),
    "upper-case": ([b"__HOST-SESSION=" + TOKEN], None),
    "longer-name": ([NAME + b"2=" + TOKEN], None),
    "shorter-name": ([NAME[:-1] + b"=" + TOKEN], None),
    "without-prefix": ([b"session=" + TOKEN], None),
    "other-prefix": ([b"__Secure-session=" + TOKEN], None),
    "escaped-name": ([b"%5F_Host-session=" + TOKEN], None),
    "old-syntax": ([b"$Version=1; " + SESSION + b"; $Path=/"], TOKEN),
    "as-much-as-is-read": ([b"a=" + b"x" * (MAX_COOKIES - len(SESSION) - 4) + b"; " + SESSION], TOKEN),
    "too-much": ([b"a=" + b"x" * (MAX_COOKIES - len(SESSION) - 3) + b"; " + SESSION], HeadTooLarge),
    "too-much-in-two": ([b"a=" + b"x" * MAX_COOKIES, SESSION], HeadTooLarge),
    "megabyte": ([SESSION + b"; a=" + b"x" * 1_000_000], HeadTooLarge),
    "ten-thousand": ([b"a=;" * 5_000 + SESSION], TOKEN),
}


@pytest.mark.parametrize("name", COOKIES)
def test_which_cookie_counts(name: str) -> None:
    """Exactly one of exactly the name, with a token in its one spelling."""
    lines, expected = COOKIES[name]
    fields = [SAME, *[(b"cookie", line) for line in lines]]
    if isinstance(expected, type):
        with pytest.raises(expected):
            COOKIE.token("GET", fields)
        return

    assert COOKIE.token("GET", fields) == expected


def test_who_sent_it_is_looked_at_before_what_it_says() -> None:
    """Another site's page learns nothing of the cookies it makes a browser send."""
    for cookie in (SESSION, SESSION + b"; " + SESSION, NAME + b"=bad"):
        with pytest.raises(Forbidden):
            COOKIE.token("GET", [site(b"cross-site"), (b"cookie", cookie)])
        with pytest.raises(Forbidden):
            COOKIE.token("POST", [JSON, (b"cookie", cookie)])


@settings(deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    fields=st.lists(
        st.tuples(
            st.sampled_from([b"cookie", b"origin", b"sec-fetch-site", b"content-type", b"authorization"]),
            st.binary(max_size=40) | st.sampled_from([SESSION, HERE, b"same-origin", b"application/json"]),
        ),
        max_size=5,
    ),
)
def test_no_bytes_break_it(method: str, fields: Fields) -> None:
    """Any fields are no session, a refusal, or the token in the one cookie of the name."""
    with suppress(Refusal):
        token = COOKIE.token(method, fields)
        if token is not None:
            assert sum(value.count(NAME) for name, value in fields if name == b"cookie") == 1
            assert token == TOKEN
