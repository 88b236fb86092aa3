from __future__ import annotations

import json
from functools import partial

import pytest
from support.cpu import cost

from proxy.errors import ValidationFailed
from proxy.payload.policy import EndpointPolicy, Policy
from proxy.payload.shape import MAX_COUNTED, UnknownFieldCounts, UnknownFields
from proxy.payload.validation.schema_file import UNTYPED, Schema
from proxy.strict_json import Json

SCHEMA = Schema(
    "toy.json",
    {
        "type": "object",
        "properties": {
            "prompt": {"type": "string"},
            "num_images": {"type": "integer", "minimum": 1, "maximum": 4},
            "strength": {"type": "number"},
            "safe": {"type": "boolean"},
            "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "strict": {"type": "string", "nullable": False},
            "steps": {"anyOf": [{"enum": ["1", "2"]}, {"enum": [1, 2]}]},
            "size": {"anyOf": [{"enum": ["auto"]}, {"type": "object", "properties": {"width": {"type": "integer"}}}]},
            "loras": {"type": "array", "items": {"type": "object", "properties": {"scale": {"type": "number"}}}},
        },
        "required": ["prompt"],
    },
)


def admit(body: object, unknown_fields: UnknownFields = "refuse", *, coerce: bool = False) -> dict[str, Json]:
    policy = EndpointPolicy("toy/app", SCHEMA, unknown_fields=unknown_fields, coerce=coerce)
    return policy.admit(json.dumps(body).encode()).value


def messages(body: object, **options: object) -> dict[object, str]:
    with pytest.raises(ValidationFailed) as raised:
        admit(body, **options)  # type: ignore[arg-type]
    return {error["loc"][-1]: error["msg"] for error in raised.value.detail}


def test_an_unknown_field_is_refused_with_the_nearest_known_one() -> None:
    """The message has the field that the caller may have meant; a field like none has none."""
    assert messages({"prompt": "a", "num_image": 2, "zzz": 1}) == {
        "num_image": 'This field is not one of the model\'s; did you mean "num_images"?',
        "zzz": "This field is not one of the model's",
    }


def test_unknown_fields_are_dropped_or_passed_where_the_operator_wants_it() -> None:
    """The rule drop removes top-level fields alone, pass sends them; nested objects follow their schema."""
    body = {"prompt": "a", "extra": 1, "loras": [{"scale": 1, "more": 2}]}

    assert admit(body, "drop") == {"prompt": "a", "loras": [{"scale": 1, "more": 2}]}
    assert admit(body, "pass") == body


def test_unknown_fields_are_counted_by_endpoint_and_name() -> None:
    """Each request counts once for each name, under every rule."""
    policy = EndpointPolicy("toy/app", SCHEMA, unknown_fields="drop")
    for _ in range(3):
        policy.admit(b'{"prompt": "a", "extra": 1}')
    with pytest.raises(ValidationFailed):
        EndpointPolicy("toy/app", SCHEMA).admit(b'{"prompt": "a", "extra": 1}')

    assert list(Policy([policy]).unknown_fields()) == [(("toy/app", "extra"), 3)]


def test_names_of_callers_do_not_fill_the_metric() -> None:
    """Only names of fields are kept apart, and no more than a hundred of them."""
    counts = UnknownFieldCounts()
    for name in ["a b", "x" * 65, "é", "", *(f"field_{i}" for i in range(1000))]:
        counts.add(name)

    assert len(counts.by_name) <= MAX_COUNTED + 1
    assert sum(counts.by_name.values()) == 1004
    assert counts.by_name["other"] >= 4


def test_names_of_callers_cost_little() -> None:
    """A body of many or of huge unknown names is refused in bounded time."""
    bodies: list[dict[str, Json]] = [{"x" * 1_000_000: 1}, {f"field_{i}": i for i in range(19_000)}]

    def refused(raw: bytes) -> None:
        with pytest.raises(ValidationFailed):
            EndpointPolicy("toy/app", SCHEMA).admit(raw)

    for body in bodies:
        raw = json.dumps(body).encode()
        assert cost(partial(refused, raw), rounds=3) < 250


def test_null_for_an_optional_field_is_dropped() -> None:
    """A null stays where the schema has it, and is an error for a required field or one that forbids it."""
    assert admit({"prompt": "a", "num_images": None, "seed": None, "size": None}) == {"prompt": "a", "seed": None}
    assert messages({"prompt": None, "strict": None}).keys() == {"prompt", "strict"}


def test_text_is_coerced_only_where_asked_and_only_where_it_must_be() -> None:
    """Numbers and booleans in text are taken at any depth; text that fits as it is stays text."""
    body = {
        "prompt": "4",
        "num_images": "2",
        "strength": "0.5",
        "safe": "true",
        "seed": "7",
        "steps": "2",
        "size": {"width": "512"},
        "loras": [{"scale": "1e-1"}],
    }

    assert admit(body, coerce=True) == {
        "prompt": "4",
        "num_images": 2,
        "strength": 0.5,
        "safe": True,
        "seed": 7,
        "steps": "2",
        "size": {"width": 512},
        "loras": [{"scale": 0.1}],
    }
    assert messages(body).keys() == {"num_images", "strength", "safe", "seed", "size", "width", "scale"} - {"size"}


@pytest.mark.parametrize("text", ["", " 2", "2 ", "0x2", "2_0", "٢", "True", "1e999", "nan", "9" * 30, "5"])
def test_other_spellings_are_not_coerced(text: str) -> None:
    """Only a plain decimal spelling within the schema's bounds is a number."""
    assert "num_images" in messages({"prompt": "a", "num_images": text}, coerce=True)


def test_a_wrapped_input_is_explained() -> None:
    """A body of a single `input` gets one message about the wrapper, not one for each missing field."""
    assert list(messages({"input": {"prompt": "a"}})) == ["input"]
    assert "wrapped" in messages({"input": {"prompt": "a"}})["input"]


def test_a_field_of_that_name_is_no_wrapper() -> None:
    """A model may have an object `input` of its own."""
    schema = Schema("chat.json", {"type": "object", "properties": {"input": {"type": "object"}}})

    assert EndpointPolicy("toy/chat", schema).admit(b'{"input": {"a": 1}}').value == {"input": {"a": 1}}


def test_an_untyped_endpoint_takes_every_object() -> None:
    """Nothing is unknown to `schema = "any"`, but files are checked as everywhere."""
    policy = EndpointPolicy("toy/any", UNTYPED)

    assert policy.admit(b'{"a": {"b": null}, "c": [1]}').value == {"a": {"b": None}, "c": [1]}
    with pytest.raises(ValidationFailed):
        policy.admit(b'{"image": "http://169.254.169.254/"}')
    with pytest.raises(ValidationFailed):
        policy.admit(b"[]")
