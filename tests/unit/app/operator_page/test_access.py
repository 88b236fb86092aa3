from __future__ import annotations

from base64 import b64encode

import pytest

from proxy.app.operator_page.access import PageAccess
from proxy.errors import BadRequest, Forbidden, NotFound, Refusal, Unauthenticated

TOKEN = "a-token-of-the-operator-with-32-chars"
HOST = (b"host", b"127.0.0.1:9090")


def field(value: str) -> tuple[bytes, bytes]:
    return b"authorization", value.encode()


def basic(text: str) -> tuple[bytes, bytes]:
    return field(f"Basic {b64encode(text.encode()).decode()}")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9090", "127.0.0.1", "[::1]:9090", "10.1.2.3:1", "ADMIN.internal", "gate.box:9090"]
)
def test_own_names_and_addresses(host: str) -> None:
    """Addresses are accepted, which DNS cannot change; names are the listener's and the configured ones."""
    PageAccess("127.0.0.1", ["admin.internal", "Gate.box"]).check([(b"host", host.encode())])


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:9090", "localhost.evil.test", "", "127.0.0.1.evil.test", "a b"]
)
def test_other_names_are_refused(host: str) -> None:
    """A name that an attacker could lead here gets nothing, whatever token comes with it."""
    access = PageAccess("127.0.0.1", token=TOKEN)
    with pytest.raises(BadRequest):
        access.check([(b"host", host.encode()), field(f"Bearer {TOKEN}")])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "admin.internal"])
def test_a_reachable_listener_needs_a_token(host: str) -> None:
    """Without a token the page is served on a loopback host alone."""
    with pytest.raises(NotFound):
        PageAccess(host).check([HOST])
    PageAccess(host, token=TOKEN).check([HOST, field(f"Bearer {TOKEN}")])


@pytest.mark.parametrize(
    "authorization", [field(f"Bearer {TOKEN}"), field(f"bearer {TOKEN}"), basic(f"me:{TOKEN}"), basic(f":{TOKEN}")]
)
def test_the_token_is_accepted(authorization: tuple[bytes, bytes]) -> None:
    """As a Bearer token, or as the password of any user, which browsers ask for."""
    PageAccess("::1", token=TOKEN).check([HOST, authorization])


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [field("")],
        [field(TOKEN)],
        [field(f"Bearer {TOKEN[:-1]}")],
        [field(f"Bearer {TOKEN}x")],
        [field("Bearer ")],
        [field(f"Key {TOKEN}")],
        [basic(f"{TOKEN}:")],
        [field("Basic %%%")],
        [(b"cookie", f"token={TOKEN}".encode())],
    ],
    ids=lambda fields: str(fields)[:30],
)
def test_other_credentials_are_refused(fields: list[tuple[bytes, bytes]]) -> None:
    """A missing or wrong token, and one that is given elsewhere, is refused."""
    with pytest.raises(Unauthenticated):
        PageAccess("127.0.0.1", token=TOKEN).check([HOST, *fields])


@pytest.mark.parametrize(
    ("site", "mode", "refused"),
    [
        ("cross-site", "cors", True),
        ("same-site", "no-cors", True),
        ("cross-site", "navigate", False),
        ("same-origin", "cors", False),
        ("none", "navigate", False),
    ],
)
def test_pages_of_other_sites(site: str, mode: str, refused: bool) -> None:
    """Another page may link here, and read nothing."""
    found: list[type[Refusal]] = []
    try:
        PageAccess("127.0.0.1").check([HOST, (b"sec-fetch-site", site.encode()), (b"sec-fetch-mode", mode.encode())])
    except Refusal as refusal:
        found.append(type(refusal))

    assert found == ([Forbidden] if refused else [])


def test_the_token_is_not_in_the_repr() -> None:
    """The token does not show where the rules are printed."""
    assert TOKEN not in repr(PageAccess("127.0.0.1", token=TOKEN))
