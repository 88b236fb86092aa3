"""Tests of near names for misspelt words."""

from __future__ import annotations

from proxy.near_names import did_you_mean, near_name


def test_a_near_name_is_offered_and_a_far_one_is_not() -> None:
    """Only a name that is like the word is offered."""
    assert near_name("num_imges", ["prompt", "num_images"]) == "num_images"
    assert near_name("xyzzy", ["prompt", "num_images"]) is None
    assert did_you_mean("num_imges", ["num_images"]) == '; did you mean "num_images"?'
    assert did_you_mean("xyzzy", ["num_images"]) == ""
