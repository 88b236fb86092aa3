from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main

CONFIG = """
[server]
public_origin = "https://a.example.com"

[[endpoints]]
id = "fal-ai/flux/dev"
price = "0.025 * input.num_images * ceil(megapixels(input.image_size))"
cap = { num_images = 3 }

[[endpoints]]
id = "fal-ai/bria/background/remove"
price = 0.5

[[endpoints]]
id = "fal-ai/wizper"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with three endpoints, without secrets: prices need none."""
    path = tmp_path / "fal-proxy.toml"
    path.write_text(CONFIG)
    return path


def price(config: Path, *args: str, body: object = None) -> Result:
    text = None if body is None else json.dumps(body)
    return CliRunner().invoke(main, ["price", "--config", str(config), *args], input=text, catch_exceptions=False)


def test_the_price_of_the_defaults(config: Path) -> None:
    """Without an input the defaults of the schema are priced."""
    assert price(config, "fal-ai/flux/dev").stdout == "0.025\n"
    assert price(config, "fal-ai/bria/background/remove").stdout == "0.5\n"


def test_the_price_of_an_input(config: Path) -> None:
    """The input comes from a file or from stdin; fields that are missing do not stop it."""
    result = price(config, "fal-ai/flux/dev", "-", body={"num_images": 3})

    assert (result.exit_code, result.stdout) == (0, "0.075\n")


def test_an_input_that_would_be_refused_is_priced_and_reported(config: Path) -> None:
    """The faults of a submit are shown beside the price, and the exit code is 1."""
    result = price(config, "fal-ai/flux/dev", "-", body={"prompt": "a", "num_images": 4})

    assert (result.exit_code, result.stdout) == (1, "0.1\n")
    assert "body.num_images: Input should be less than or equal to 3" in result.stderr


def test_json_for_scripts(config: Path) -> None:
    """The option --json has the endpoint, the price and the expression."""
    result = price(config, "--json", "fal-ai/bria/background/remove")

    assert json.loads(result.stdout) == {"endpoint": "fal-ai/bria/background/remove", "price": 0.5, "expression": 0.5}


@pytest.mark.parametrize(
    ("args", "body", "message"),
    [
        (("fal-ai/flux/dex",), None, 'is not listed; did you mean "fal-ai/flux/dev"?'),
        (("fal-ai/wizper",), None, "endpoints[2].price: there is none"),
        (("fal-ai/flux/dev", "-"), {"num_images": "x"}, "does not take"),
    ],
)
def test_mistakes_are_explained(config: Path, args: tuple[str, ...], body: object, message: str) -> None:
    """An unknown endpoint, a missing price and an input without a price end with a reason and exit code 1."""
    result = price(config, *args, body=body)

    assert result.exit_code == 1
    assert message in result.stderr
