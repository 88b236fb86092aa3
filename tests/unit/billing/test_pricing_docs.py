from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.billing.ledger.money import MICRO
from proxy.billing.pricing import Price
from proxy.errors import ExpressionError
from proxy.strict_json import Json

TEXT = (Path(__file__).parents[3] / "docs" / "pricing.md").read_text(encoding="utf-8")
SCHEMA: Mapping[str, Json] = json.loads(re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)[-1])


def rows(heading: str, columns: int) -> list[list[str]]:
    """The rows of the table under *heading*, without the backticks of code."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ", columns - 1)] for line in lines]
    assert all(len(row) == columns for row in cells)
    return cells


EXAMPLES, MESSAGES = rows("Examples", 3), rows("Messages", 2)
RECIPES = rows("Recipes by fal's billing units", 2)


@pytest.mark.parametrize(("expression", "value", "units"), EXAMPLES, ids=[f"{row[0]} {row[1]}" for row in EXAMPLES])
def test_an_example_has_its_price(expression: str, value: str, units: str) -> None:
    """Each expression of the documentation gives the price that stands beside it."""
    price = Price(expression, SCHEMA).evaluate({"prompt": "a", **json.loads(value)})

    assert price == round(float(units) * MICRO)


@pytest.mark.parametrize(("expression", "message"), MESSAGES, ids=[row[0] for row in MESSAGES])
def test_a_mistake_has_its_message(expression: str, message: str) -> None:
    """Each wrong expression is rejected with the documented message."""
    with pytest.raises(ExpressionError) as raised:
        Price(expression, SCHEMA)

    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("expression", [row[1] for row in RECIPES])
def test_a_recipe_prices_the_schema(expression: str) -> None:
    """Each recipe compiles, and has a price for everything that the schema admits."""
    assert Price(expression, SCHEMA).evaluate({"prompt": "a"}) > 0


def test_the_documentation_has_enough_of_them() -> None:
    """At least 40 examples and ten mistakes are documented."""
    assert len({tuple(row) for row in EXAMPLES}) >= 40
    assert len(MESSAGES) >= 10
