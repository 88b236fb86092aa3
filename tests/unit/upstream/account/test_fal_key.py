from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.account.fal_key import FalKey, secrets, turns


def keys(*weights: int) -> list[FalKey]:
    return [FalKey(f"id-{index}:secret-{index}", f"k{index}", weight) for index, weight in enumerate(weights)]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_each_key_has_its_share(weights: list[int]) -> None:
    """In one round each alias has as many turns as its weight."""
    order = turns(keys(*weights))

    assert [order.count(f"k{index}") for index in range(len(weights))] == weights


@pytest.mark.parametrize(("weights", "order"), [((1,), "0"), ((2, 1), "010"), ((4, 2, 1), "0102010")])
def test_the_turns_are_mixed(weights: tuple[int, ...], order: str) -> None:
    """A heavy key does not get all its turns at once."""
    assert turns(keys(*weights)) == tuple(f"k{index}" for index in order)


def test_a_key_does_not_show_itself() -> None:
    """Neither in its repr nor in its digest, which changes with the text."""
    key = FalKey("id:secret-1", "a")

    assert "secret" not in repr(key)
    assert key.digest != FalKey("id:secret-2", "a").digest
    assert secrets([key]) == ("id:secret-1", "secret-1")
    assert (key.label, FalKey("id:secret-1").label) == ("a", "default")
