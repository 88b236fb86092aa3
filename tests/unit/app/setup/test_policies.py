from __future__ import annotations

import pytest
from support.in_process_gateway import small_components

from proxy.errors import ConfigError

BUDGET = [{"name": "day", "per": "user", "window": "day", "limit": 1}]


def problems(**endpoint: object) -> list[str]:
    """Returns the problems of a configuration with one untyped endpoint and a budget."""
    with pytest.raises(ConfigError) as raised:
        small_components(endpoints=[{"id": "acme/any", "schema": "any", **endpoint}], budgets=BUDGET)
    return [str(problem) for problem in raised.value.problems]


def test_an_untyped_endpoint_takes_a_flat_price() -> None:
    """A number is a price of it; an expression over its fields is not, and the message has the way out."""
    assert small_components(endpoints=[{"id": "acme/any", "schema": "any", "price": 0.5}], budgets=BUDGET).prices
    assert problems(price="input.num_images * 2") == [
        'endpoints[0].price: "input.num_images * 2": the endpoint has no schema, so no field is known; a flat price is '
        "a number, as in price = 0.5"
    ]


def test_a_budget_wants_a_price_of_an_untyped_endpoint_too() -> None:
    """Without a price nothing could be reserved."""
    assert problems() == ["endpoints[0].price: the budget day covers this endpoint, so it needs one"]


def test_any_and_a_file_exclude_each_other() -> None:
    """Two sources of a schema are a mistake."""
    assert 'schema = "any" and schema_file exclude each other' in problems(price=1, schema_file="a.json")[0]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("price", True, "must be a number, without quotes"),
        ("price", "celi(1)", 'did you mean "ceil"?'),
        ("price", -1, "the price is -1"),
        ("unknown_fields", "keep", "unknown_fields"),
        ("schema", "all", "endpoints[0].schema"),
        ("tags", {"fal.team": "a"}, "does not begin with fal."),
        ("tags", {"team": "a,b"}, "without a comma"),
        ("output_lifetime_seconds", 0, "output_lifetime_seconds"),
    ],
)
def test_mistakes_in_the_keys_of_an_endpoint(key: str, value: object, message: str) -> None:
    """Each is reported with its key and in words."""
    assert any(message in problem for problem in problems(**{"price": 1, key: value}))


def test_rules_of_an_untyped_endpoint() -> None:
    """Any field can be forced, defaulted or forbidden; a cap has nothing to bound."""
    rules = {"force": {"a": 1}, "default": {"b": 2}, "forbid": ["c"]}
    components = small_components(endpoints=[{"id": "acme/any", "schema": "any", **rules}])

    assert components.policies[0].admit(b'{"d": 4}').value == {"a": 1, "b": 2, "d": 4}
    assert "cannot be capped" in problems(price=1, cap={"a": 3})[0]
