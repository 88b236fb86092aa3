from __future__ import annotations

import jsonschema_rs
import pytest
from support.sandbox import Clock

from proxy.sandbox.files import FileHost
from proxy.sandbox.json_types import Json, JsonObject, as_list, as_object
from proxy.sandbox.models.input_options import InputOptions
from proxy.sandbox.models.media_factory import MediaFactory
from proxy.sandbox.models.output_builder import OutputBuilder

STRING: JsonObject = {"type": "string"}
NULLABLE: JsonObject = {"anyOf": [{"type": "string"}, {"type": "null"}]}
FILE: JsonObject = {"type": "object", "required": ["url"], "properties": {"url": STRING, "content_type": NULLABLE}}
SMALL = {"image_size": {"width": 8, "height": 8}}


def build(schema: JsonObject, **payload: object) -> Json:
    """Returns the value for *schema*, which must accept it."""
    files = FileHost("http://127.0.0.1", capacity=10**6, clock=Clock())
    options = InputOptions({**SMALL, **payload}, None)  # type: ignore[dict-item]
    media = MediaFactory(options, files, source=None, seed=7)
    value = OutputBuilder(options, media, endpoint="acme/model", seed=7, elapsed=lambda: 0.5).build(schema)
    assert list(jsonschema_rs.Draft202012Validator(schema).iter_errors(value)) == []
    return value


def field(name: str, schema: JsonObject, **payload: object) -> Json:
    """Returns the value of one field of an output."""
    output = build({"type": "object", "properties": {name: schema}}, **payload)
    assert isinstance(output, dict)
    return output[name]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 5}, 5),
        ({"enum": ["a", "b"]}, "a"),
        ({"enum": ["a", "b"], "default": "b"}, "b"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "number", "default": 1.5}, 1.5),
        ({"type": "boolean"}, False),
        ({"type": "boolean", "default": True}, True),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"]}, 0),
        ({"type": "array", "items": {"type": "integer"}}, [0]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, []),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}]}, [0, None]),
        ({"type": "string", "maxLength": 3}, "San"),
        ({"type": "string", "minLength": 20}, "Sandbox thing......."),
        ({"type": "string", "format": "date-time"}, "2026-01-01T00:00:00Z"),
        ({"type": "string", "pattern": "^a+$", "examples": ["aa"]}, "aa"),
        ({"examples": [[1, 2]]}, [1, 2]),
        ({}, {}),
        ({"type": "object", "additionalProperties": {"type": "number"}}, {"inference": 0.5}),
        ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 1}]}, 1),
        ({"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}, 1),
        ({"anyOf": [{"type": "null"}]}, None),
        (NULLABLE, None),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": {"const": 2}}}]},
            {"a": 1, "b": 2},
        ),
    ],
    ids=str,
)
def test_a_value_fits_its_schema(schema: JsonObject, value: Json) -> None:
    """Each keyword that limits a value is kept."""
    assert field("thing", schema) == value


def test_an_answer_repeats_what_the_input_names() -> None:
    """Seed, texts and options of the same name come back; an unknown text may be null."""
    schema: JsonObject = {
        "type": "object",
        "properties": {
            "seed": {"type": "integer"},
            "prompt": NULLABLE,
            "error": NULLABLE,
            "output": STRING,
            "languages": {"type": "array", "items": {"enum": ["af", "en"]}},
        },
    }

    assert build(schema, prompt="a cat", language="en") == {
        "seed": 7,
        "prompt": "a cat",
        "error": None,
        "output": "Sandbox output: a cat",
        "languages": ["en"],
    }


@pytest.mark.parametrize("wrap", [False, True], ids=["plain", "nullable"])
def test_a_list_of_files_follows_the_count(*, wrap: bool) -> None:
    """As many files and safety flags as the input asks for; each file has its own URL and its media type."""
    item: JsonObject = {"anyOf": [FILE, {"type": "null"}]} if wrap else FILE
    schema: JsonObject = {
        "type": "object",
        "properties": {
            "has_nsfw_concepts": {"type": "array", "items": {"type": "boolean"}},
            "images": {"type": "array", "items": item},
        },
    }

    output = as_object(build(schema, num_images=3))

    images = [as_object(image) for image in as_list(output["images"])]
    assert output["has_nsfw_concepts"] == [False] * 3
    assert len({image["url"] for image in images}) == 3
    assert {image["content_type"] for image in images} == {"image/png"}


def test_a_file_describes_itself() -> None:
    """Size, sides and length are those of the file; fields beside it repeat them."""
    facts: JsonObject = {name: {"type": "integer"} for name in ("width", "height", "num_frames", "file_size")}
    schema: JsonObject = {
        "type": "object",
        "properties": {
            "duration": {"type": "number"},
            "video": {
                "type": "object",
                "properties": {"url": STRING, "file_data": STRING, **facts},
            },
        },
    }

    output = as_object(build(schema, duration="2s", resolution="64x36", image_size=None))

    video = as_object(output["video"])
    assert output["duration"] == 2.0
    assert (video["width"], video["height"], video["num_frames"]) == (64, 36, 4)
    assert "file_data" not in video
    assert isinstance(video["file_size"], int)
    assert video["file_size"] > 100


def test_a_text_field_for_a_url_gets_one() -> None:
    """Names that end with `url` and the formats of URLs are addresses of files."""
    assert str(field("audio_url", STRING)).endswith("_out.wav")
    assert str(field("picture", {"type": "string", "format": "uri"})).endswith("_out.png")


def test_the_default_of_a_media_type_names_the_format() -> None:
    """The output's default decides when the input asks for no format."""
    image: JsonObject = {
        "type": "object",
        "properties": {"url": STRING, "content_type": {"type": "string", "default": "image/jpeg"}},
    }

    assert as_object(field("image", image))["content_type"] == "image/jpeg"
    assert as_object(field("image", image, output_format="webp"))["content_type"] == "image/webp"


def test_deep_optional_fields_are_left_out() -> None:
    """Below six levels only required fields are built, so that a recursive schema stays small."""
    schema: JsonObject = {"type": "integer"}
    for _ in range(10):
        schema = {"type": "object", "properties": {"child": schema}}

    depth, value = 0, build(schema)
    while isinstance(value, dict) and value:
        depth, value = depth + 1, value["child"]

    assert depth == 6
