"""Forms of any schema: nothing is sent that was not set, and each field can be set and cleared."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from support.browser import visit
from support.demo import Told

from proxy.demo.demo import PRICES, SandboxAddresses, build_demo
from proxy.payload.policy import Policy

PROBE = Path(__file__).with_name("forms.js").read_text(encoding="utf-8")
SEEDS = range(300)

Draw = random.Random
Schema = dict[str, object]


def _text(draw: Draw) -> Schema:
    return {"type": "string", **draw.choice([{}, {"maxLength": 500}, {"default": "a text"}, {"default": ""}])}


def _number(draw: Draw) -> Schema:
    bounds: Schema = draw.choice([{}, {"minimum": 0, "maximum": 10}, {"exclusiveMinimum": 1}, {"maximum": 99999}])
    return {"type": draw.choice(["integer", "number"]), **bounds, **draw.choice([{}, {"default": 2}])}


def _choice(draw: Draw) -> Schema:
    values: list[object] = draw.choice(
        [["a/one", "b/two"], ["de", "en", "fr"], [1, 2, 4], [f"style_{n}" for n in range(9)]]
    )
    return {"enum": values, **draw.choice([{}, {"default": values[0]}])}


def _boolean(draw: Draw) -> Schema:
    return {"type": "boolean", **draw.choice([{}, {"default": True}, {"default": False}])}


def _size(draw: Draw) -> Schema:
    side: object = {"type": "integer", "exclusiveMinimum": 0, "maximum": 4096, "default": 512}
    pair: object = {"type": "object", "properties": {"width": side, "height": side}}
    names: object = {"type": "string", "enum": ["square_hd", "portrait_4_3", "auto"]}
    return {
        "anyOf": [pair, names],
        **draw.choice([{}, {"default": "square_hd"}, {"default": {"width": 64, "height": 32}}]),
    }


def _list(draw: Draw) -> Schema:
    item = draw.choice([{"type": "string"}, {"type": "number"}, _object(draw)])
    return {"type": "array", "items": item, **draw.choice([{}, {"default": []}])}


def _object(draw: Draw) -> Schema:
    return {"title": "LoraWeight", "type": "object", **_properties(draw, [_text, _number, _choice, _boolean])}


KINDS = [_text, _number, _choice, _boolean, _size, _list, _object, lambda draw: {}]


def _field(draw: Draw, kinds: list[Callable[[Draw], Schema]]) -> Schema:
    field = draw.choice(kinds)(draw)
    if draw.random() > 0.3:
        return field
    outer = {"default": field.pop("default")} if "default" in field else draw.choice([{}, {"default": None}])
    union = field.pop("anyOf", None)
    branches = [*(union if isinstance(union, list) else [field]), {"type": "null"}]
    return {"anyOf": branches, **outer}


def _properties(draw: Draw, kinds: list[Callable[[Draw], Schema]]) -> Schema:
    names = draw.sample(
        ["prompt", "image_url", "image_urls", "audio_url", "language", "seed", "loras", "camera", "x"], 4
    )
    properties = {name: _field(draw, kinds) for name in names}
    required = [name for name in names if "default" not in properties[name] and draw.random() < 0.3]
    return {"properties": properties, "required": required}


def probe(browser: Browser, url: str, schemas: Mapping[str, object]) -> list[str]:
    """Returns the claims that do not hold for *schemas*."""
    with visit(browser, url) as page:
        broken = page.page.evaluate(PROBE, schemas)
    assert isinstance(broken, list)
    return broken


def test_random_schemas(browser: Browser, demo: Told) -> None:
    """Over random schemas: untouched optional fields send nothing; a field can be set, cleared and undone."""
    schemas = {f"seed {seed}": {"type": "object", **_properties(Draw(seed), KINDS)} for seed in SEEDS}

    assert probe(browser, demo.url, schemas) == []


def test_the_shipped_schemas(browser: Browser, demo: Told) -> None:
    """The same over the schemas of the demo's models, as their callers get them."""
    addresses = SandboxAddresses(*(f"http://127.0.0.1:{port}" for port in range(1, 5)))
    demonstration = build_demo(origin="http://127.0.0.1:5", upstream=addresses, fal_key="sandbox:key")
    policy = Policy(demonstration.parts.policies)
    schemas = {endpoint: policy.effective(endpoint) for endpoint in PRICES}

    assert probe(browser, demo.url, schemas) == []


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("a/one", "a/one"),
        ("de", "de"),
        ("square_hd", "Square HD"),
        ("style_5", "style_5"),
        ("transcribe", "Transcribe"),
    ],
)
def test_labels_keep_values(browser: Browser, demo: Told, value: str, label: str) -> None:
    """A choice is labelled with its value; only plain words get a capital."""
    with visit(browser, demo.url) as page:
        script = "async (value) => (await import('/playground/form/labels.js')).valueLabel(value)"
        assert page.page.evaluate(script, value) == label
