from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from support.in_process_gateway import ENDPOINT

from proxy.billing import pricing
from proxy.billing.price_functions import characters, megapixels, seconds
from proxy.billing.pricing import Price
from proxy.errors import ExpressionError, ValidationFailed
from proxy.payload.policy import EndpointPolicy
from proxy.payload.rules import PayloadRules
from proxy.payload.validation.schema_file import SHIPPED, load_schema
from proxy.strict_json import Json

SCHEMA = load_schema(SHIPPED / f"{ENDPOINT}.json")
CAPPED = EndpointPolicy(ENDPOINT, SCHEMA, PayloadRules(cap={"num_images": 4})).effective
PICTURES = "input.num_images * number(input.num_inference_steps) * megapixels(input.image_size)"


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        ({}, 1_048_576),
        ({"num_images": 4}, 4 * 1_048_576),
        ({"num_images": 2, "num_inference_steps": "4", "image_size": "square"}, 8 * 262_144),
        ({"num_inference_steps": 2, "image_size": {"width": 1000, "height": 1000}}, 2_000_000),
        ({"image_size": {"width": 1000}}, 512_000),
        ({"image_size": {"width": 1, "height": 1}}, 1),
    ],
)
def test_images_are_priced_by_count_steps_and_size(value: dict[str, Json], micros: int) -> None:
    """Fields that are left out have the schema's defaults; a fraction of a millionth is rounded up."""
    assert Price(PICTURES, CAPPED).evaluate({"image_url": "x", "prompt": "y", **value}) == micros


def test_the_noise_of_doubles_is_rounded_off() -> None:
    """Three at 0.1 cost 0.3, so a budget of 0.3 is enough."""
    assert Price("input.num_images * 0.1", CAPPED).evaluate({"num_images": 3}) == 300_000


def test_a_constant_is_a_price() -> None:
    """An integer or a decimal, as text or as a number, is the price of every payload."""
    assert Price("3", CAPPED).evaluate({}) == 3_000_000
    assert Price("0.25", CAPPED).evaluate({}) == 250_000
    assert Price(0.25, CAPPED).evaluate({"num_images": 3}) == 250_000


@pytest.mark.parametrize(
    "expression",
    [
        "input.num_images +",
        "input.nun_images * 2.0",
        "input.num_images % 2",
        "input.prompt",
        "images * 2.0",
        "true",
        "-1.0",
        "1.0 - input.num_images",
        "0.0 / 0.0",
        "1.0 / 0.0",
        "1e10",
        "1 / 0",
        "number(input.prompt)",
        "number(input.enable_safety_checker)",
        "megapixels(input.format)",
        "__import__('os')",
        "input.num_images == 4.0 ? -1.0 : 1.0",
    ],
)
def test_an_expression_that_does_not_price_the_schema_is_refused(expression: str) -> None:
    """Syntax, unknown fields, types, and values below zero, infinite or huge are found at the start."""
    with pytest.raises(ValueError, match=r"."):
        Price(expression, CAPPED)


def test_a_payload_without_a_price_is_refused() -> None:
    """A payload unlike the samples is refused when it comes, not let through for nothing."""
    price = Price("number(input.prompt == 'x' ? '1' : input.prompt)", CAPPED)

    with pytest.raises(ValidationFailed) as refused:
        price.evaluate({"prompt": "many"})
    assert refused.value.detail[0]["type"] == "unpriceable"


def test_the_whole_input_can_be_used() -> None:
    """An expression may read fields by index, or test which exist."""
    assert Price("'seed' in input ? 2.0 : 1.0", CAPPED).evaluate({"seed": 2**70}) == 2_000_000
    assert Price("input['num_images']", CAPPED).evaluate({}) == 1_000_000


def test_null_counts_as_left_out() -> None:
    """Models take null for their default, so the price does, too."""
    assert Price("input.num_images * 0.1", CAPPED).evaluate({"num_images": None}) == 100_000


def test_a_flat_price_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway with numbers alone runs without the extra; an expression is refused with the command."""
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    monkeypatch.delitem(sys.modules, "cel_expr_python.cel", raising=False)
    pricing._environment.cache_clear()

    assert Price(2, CAPPED).evaluate({}) == 2_000_000
    with pytest.raises(ExpressionError, match="pip install"):
        Price("input.num_images", CAPPED)


@pytest.mark.parametrize(
    ("function", "value", "figure", "result"),
    [
        (seconds, "6s", None, 6),
        (seconds, " 6 S ", None, 6),
        (seconds, "7.5 seconds", None, 7.5),
        (seconds, 6, None, 6),
        (seconds, 6.25, None, 6.25),
        (seconds, "auto", 8, 8),
        (seconds, None, 8, 8),
        (megapixels, "1024*1024", None, 1.048576),
        (megapixels, {}, None, 0.262144),
        (megapixels, {"width": 1000, "height": 1000}, 9, 1),
        (megapixels, "auto_4K", 8.3, 8.3),
        (megapixels, None, 1, 1),
        (characters, "", None, 0),
        (characters, "\U0001f600é", None, 2),
    ],
)
def test_units_of_fal(function: Callable[..., float], value: Json, figure: float | None, result: float) -> None:
    """Seconds, megapixels and characters of every spelling that fal's models have."""
    assert (function(value) if figure is None else function(value, figure)) == result


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (seconds, "six"),
        (seconds, ""),
        (seconds, "1:30"),
        (seconds, True),
        (seconds, [6]),
        (seconds, "-1"),
        (megapixels, "huge"),
        (megapixels, "0x512"),
        (megapixels, 5),
        (megapixels, {"width": "wide"}),
        (characters, 5),
        (characters, ["a", 1]),
    ],
)
def test_other_values_have_no_unit(function: Callable[..., float], value: Json) -> None:
    """A value without one meaning is an error with what is accepted."""
    with pytest.raises(ValueError, match=r"takes|not"):
        function(value)
