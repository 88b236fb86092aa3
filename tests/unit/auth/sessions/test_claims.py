"""Look-ups by dotted path, and required values."""

from __future__ import annotations

import pytest

from proxy.auth.sessions.claims import MISSING, Claims, Requirement, Scalar, claim_text, find
from proxy.strict_json import Json

CLAIMS: dict[str, Json] = {
    "sub": "alice",
    "level": 3,
    "is_anonymous": False,
    "roles": ["user", "beta"],
    "app_metadata": {"plan": "pro", "seats": 2, "flags": ["x"], "a.b": {"c": 1}},
    "https://app.example.com/plan": "team",
    "https://app.example.com/claims": {"plan": "nested"},
    "app_metadata.plan": "flat",
    "nothing": None,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sub", "alice"),
        ("app_metadata.seats", 2),
        ("app_metadata.flags", ["x"]),
        ("app_metadata.a.b.c", 1),
        ("https://app.example.com/plan", "team"),
        ("https://app.example.com/claims.plan", "nested"),
        ("app_metadata.plan", "flat"),
        ("nothing", None),
        ("nothing.more", MISSING),
        ("app_metadata.absent", MISSING),
        ("app_metadata.seats.x", MISSING),
        ("sub.x", MISSING),
        ("roles.0", MISSING),
        ("", MISSING),
        (".", MISSING),
        ("app_metadata.", MISSING),
        (".plan", MISSING),
    ],
)
def test_paths(path: str, value: object) -> None:
    """A path leads into objects; a member whose own name has dots comes first."""
    assert find(CLAIMS, path) == value
    assert (path in Claims(CLAIMS)) == (value is not MISSING)


def test_claims_are_read_only_all_the_way() -> None:
    """Values out of the claims cannot be written to: lists are tuples, objects are claims again."""
    claims = Claims(CLAIMS)
    inner = claims["app_metadata"]

    assert claims["roles"] == ("user", "beta")
    assert isinstance(inner, Claims)
    assert inner["flags"] == ("x",)
    assert claims.get("absent.path") is None
    assert set(claims) == set(CLAIMS)
    with pytest.raises(TypeError):
        claims["sub"] = "bob"  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "allowed", "met"),
    [
        ("is_anonymous", (False,), True),
        ("is_anonymous", (True,), False),
        ("is_anonymous", (0,), False),
        ("level", (3,), True),
        ("level", (1, 2, 3), True),
        ("level", ("3",), False),
        ("level", (True,), False),
        ("roles", ("beta",), True),
        ("roles", ("admin", "beta"), True),
        ("roles", ("admin",), False),
        ("roles", ("user beta",), False),
        ("app_metadata.seats", (2,), True),
        ("absent", (False,), False),
        ("absent", ("",), False),
        ("nothing", (False,), False),
        ("app_metadata", ("pro",), False),
    ],
)
def test_requirements(path: str, allowed: tuple[Scalar, ...], met: bool) -> None:
    """A claim, or one of its items, must be an allowed value of the same kind; a missing one never is."""
    assert Requirement(path, allowed).is_met(CLAIMS) == met


def test_true_is_not_one() -> None:
    """In Python 1 equals True; a token whose claim is 1 does not meet a requirement of true."""
    assert not Requirement("x", (True,)).is_met({"x": 1})
    assert not Requirement("x", (1,)).is_met({"x": True})


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (3, "3"), ("pro", "pro"), ("", ""), (None, None), (1.5, None), ((), None)],
)
def test_texts(value: object, text: str | None) -> None:
    """Tiers and teams are looked up by the text of a string, a boolean or a whole number."""
    assert claim_text(value) == text
