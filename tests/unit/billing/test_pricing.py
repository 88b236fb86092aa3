from __future__ import annotations

import pytest
from support.in_process_gateway import ENDPOINT

from proxy.billing.pricing import Price
from proxy.errors import ValidationFailed
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
def test_pictures_are_priced_by_count_steps_and_size(value: dict[str, Json], micros: int) -> None:
    """Defaults of the schema count where the caller says nothing; a fraction of a millionth is rounded up."""
    assert Price(PICTURES, CAPPED).evaluate({"image_url": "x", "prompt": "y", **value}) == micros


def test_the_noise_of_doubles_costs_nothing() -> None:
    """A budget of 0.3 is enough for three at 0.1."""
    assert Price("input.num_images * 0.1", CAPPED).evaluate({"num_images": 3}) == 300_000


def test_a_constant_is_a_price() -> None:
    """An integer or a double, whatever the payload."""
    assert Price("3", CAPPED).evaluate({}) == 3_000_000
    assert Price("0.25", CAPPED).evaluate({}) == 250_000


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
    """An expression may take fields by index, or ask which there are."""
    assert Price("'seed' in input ? 2.0 : 1.0", CAPPED).evaluate({"seed": 2**70}) == 2_000_000
    assert Price("input['num_images']", CAPPED).evaluate({}) == 1_000_000
