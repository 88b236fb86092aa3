"""Tests of proxy.schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.payload.validation.schema_file import DRAFT, MAX_DEPTH, MAX_SUBSCHEMAS, SHIPPED, check_schema, load_schema
from proxy.payload.validation.validator import Validator
from proxy.strict_json import Json

HYPER_SDXL = SHIPPED / "fal-ai/hyper-sdxl/image-to-image.json"


def document(**members: object) -> bytes:
    return json.dumps({"type": "object", "properties": {}, **members}).encode()


def field(schema: object, **definitions: object) -> bytes:
    return document(properties={"a": schema}, **{"$defs": definitions})


def nested(depth: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "integer"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def test_a_plain_schema_is_taken_as_it_is() -> None:
    """Any JSON Schema of an object is a schema file; its own bookkeeping is left behind."""
    schema = check_schema(
        "x.json", document(**{"$schema": DRAFT, "$id": "urn:x", "$comment": "", "title": "X"}, required=["a"])
    )

    assert schema.input == {"type": "object", "properties": {}, "title": "X", "required": ["a"]}
    assert schema.output is None
    assert schema.source == "x.json"


@pytest.mark.parametrize(
    ("schema", "inlined"),
    [
        ({"$ref": "#/$defs/Size"}, {"type": "integer", "title": "Size"}),
        ({"$ref": "#/$defs/Size", "title": "Width", "x-a": 1}, {"type": "integer", "title": "Width", "x-a": 1}),
        ({"$ref": "#/$defs/Twice"}, {"type": "integer", "title": "Size", "default": 2}),
        ({"$ref": "#/$defs/Size", "minimum": 1}, {"minimum": 1, "allOf": [{"type": "integer", "title": "Size"}]}),
        (
            {"$ref": "#/$defs/Size", "allOf": [{"minimum": 1}]},
            {"allOf": [{"type": "integer", "title": "Size"}, {"minimum": 1}]},
        ),
        ({"$ref": "#/$defs/Any", "title": "A"}, {"title": "A", "allOf": [True]}),
        ({"allOf": [{"$ref": "#/$defs/Size"}], "default": 2}, {"type": "integer", "title": "Size", "default": 2}),
        (
            {"allOf": [{"$ref": "#/$defs/Size"}], "minimum": 1},
            {"minimum": 1, "allOf": [{"type": "integer", "title": "Size"}]},
        ),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, {"allOf": [{"minimum": 1}, {"maximum": 2}]}),
        ({"items": {"$ref": "#/$defs/Size"}}, {"items": {"type": "integer", "title": "Size"}}),
        ({"anyOf": [{"$ref": "#/$defs/Any"}, False]}, {"anyOf": [{"allOf": [True]}, False]}),
        ({"dependentSchemas": {"b": {"$ref": "#/$defs/Any"}}}, {"dependentSchemas": {"b": {"allOf": [True]}}}),
        # Values are no schemas, even where they look like one; nor is a field that has the name of a keyword.
        ({"default": {"$ref": "x"}, "enum": [{"$ref": "y"}]}, {"default": {"$ref": "x"}, "enum": [{"$ref": "y"}]}),
        ({"properties": {"$ref": {"type": "string"}}}, {"properties": {"$ref": {"type": "string"}}}),
        ({"properties": {"$id": True, "$defs": False}}, {"properties": {"$id": True, "$defs": False}}),
    ],
    ids=lambda case: json.dumps(case)[:48],
)
def test_references_are_replaced(schema: object, inlined: object) -> None:
    """A loaded schema stands by itself, and means the same as the file."""
    definitions = {
        "Size": {"type": "integer", "title": "Size"},
        "Twice": {"$ref": "#/$defs/Size", "default": 2},
        "Any": True,
    }

    assert check_schema("x.json", field(schema, **definitions)).input["properties"] == {"a": inlined}


def test_the_root_may_be_a_reference() -> None:
    """Generators like to put the input itself among the definitions."""
    raw = json.dumps({"$ref": "#/$defs/Input", "$defs": {"Input": {"type": "object", "properties": {"a": True}}}})

    assert check_schema("x.json", raw.encode()).fields() == {"a": {}}


def test_a_definition_may_be_used_many_times() -> None:
    """Only a circle is refused, not a diamond."""
    schema = check_schema(
        "x.json", field({"prefixItems": [{"$ref": "#/$defs/A"}] * 3}, A={"$ref": "#/$defs/B"}, B=True)
    )

    assert schema.fields()["a"] == {"prefixItems": [{"allOf": [True]}] * 3}


def test_fields_and_required() -> None:
    """Boolean schemas get their other spelling; a field that has a default need not be sent."""
    schema = check_schema(
        "x.json",
        document(properties={"a": True, "b": False, "c": {"default": 1}}, required=["a", "c", "elsewhere"]),
    )

    assert schema.fields() == {"a": {}, "b": {"not": {}}, "c": {"default": 1}}
    assert schema.required() == ["a", "elsewhere"]
    assert check_schema("x.json", document()).required() == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON"),
        (b'{"type": "object", "type": "object"}', "duplicate member name"),
        (b"[]", '#: must have "type": "object"'),
        (b"true", '#: must have "type": "object" and name the fields of the input under "properties"'),
        (b"{}", '#: must have "type": "object" and name the fields of the input under "properties"'),
        (b'{"type": "object"}', '#: must have "type": "object" and name the fields of the input under "properties"'),
        (
            b'{"type": "array", "properties": {}}',
            '#: must have "type": "object" and name the fields of the input under "properties"',
        ),
        (document(**{"$schema": "http://json-schema.org/draft-07/schema#"}), f"#/$schema: must be {DRAFT}"),
        (field({"minimum": "1"}), "#/properties/a/minimum: Input should be a valid number"),
        (
            field({"minimum": 1, "exclusiveMinimum": True}),
            "#/properties/a/exclusiveMinimum: Input should be a valid number",
        ),
        (field({"items": []}), "#/properties/a/items: Input should be a valid boolean or a valid object"),
        (field(True, X={"maxLength": -1}), "#/$defs/X/maxLength: Input should be greater than or equal to 0"),
        (document(properties={"a/b~c": 1}), "#/properties/a~1b~0c: Input should be a valid boolean or a valid object"),
        (
            field({"$ref": "https://example.com/x.json"}),
            "#/properties/a/$ref: must be of the form #/$defs/<name>; nothing is fetched",
        ),
        (
            field({"$ref": "file:///etc/passwd"}),
            "#/properties/a/$ref: must be of the form #/$defs/<name>; nothing is fetched",
        ),
        (
            field({"$ref": "other.json#/$defs/X"}),
            "#/properties/a/$ref: must be of the form #/$defs/<name>; nothing is fetched",
        ),
        (
            field({"$ref": "#/properties/a"}),
            "#/properties/a/$ref: must be of the form #/$defs/<name>; nothing is fetched",
        ),
        (field({"$ref": "#"}), "#/properties/a/$ref: must be of the form #/$defs/<name>; nothing is fetched"),
        (field({"$ref": "#/$defs/X"}), "#/properties/a/$ref: names a definition that the file does not have"),
        (
            field({"$ref": "#/$defs/A"}, A={"items": {"$ref": "#/$defs/B"}}, B={"anyOf": [{"$ref": "#/$defs/A"}]}),
            "#/$defs/B/anyOf/0/$ref: closes a circle of references, which is not supported",
        ),
        (
            field({"$ref": "#/$defs/A"}, A={"$ref": "#/$defs/A"}),
            "#/$defs/A/$ref: closes a circle of references, which is not supported",
        ),
        (field({"$dynamicRef": "#x"}), "#/properties/a/$dynamicRef: is not supported in a schema file"),
        (field({"$id": "urn:y"}), "#/properties/a/$id: is not supported in a schema file"),
        (field({"pattern": "(?=a)"}), "#/properties/a/pattern: is not a pattern that runs in linear time"),
        (
            field({"patternProperties": {r"(a)\1": True}}),
            "#/properties/a/patternProperties/(a)\\1: is not a pattern that runs",
        ),
        (field({"pattern": "(a{1000}){1000}"}), "#/properties/a/pattern: is not a pattern that runs in linear time"),
        (field(True, Output={"pattern": "("}), "#/$defs/Output/pattern: is not a pattern that runs in linear time"),
        (field({"anyOf": [True] * MAX_SUBSCHEMAS}), f"#: has more than {MAX_SUBSCHEMAS} subschemas"),
        (
            field(nested(MAX_DEPTH)),
            "#/properties/a" + "/items" * MAX_DEPTH + f": is nested deeper than {MAX_DEPTH} schemas",
        ),
        (
            field(
                {"$ref": "#/$defs/D5"},
                **{f"D{n}": {"anyOf": [{"$ref": f"#/$defs/D{n - 1}"}] * 5} for n in range(1, 6)},
                D0={"type": "integer"},
            ),
            f"#: has more than {MAX_SUBSCHEMAS} subschemas once its references are replaced",
        ),
    ],
    ids=lambda case: str(case)[:60],
)
def test_a_bad_file_stops_the_start(raw: bytes, message: str) -> None:
    """The problem is keyed by the file and says where in it what is wrong."""
    with pytest.raises(ConfigError) as caught:
        check_schema("bad.json", raw)

    (problem,) = caught.value.problems
    assert problem.key == "bad.json"
    assert problem.message.startswith(message)


def test_every_fault_of_a_file_is_named() -> None:
    """One start is enough to see them all."""
    with pytest.raises(ConfigError) as caught:
        check_schema("bad.json", document(properties={"a": {"type": "strng"}, "b": {"minimum": "1"}}, required="a"))

    assert sorted(problem.message.split(":")[0] for problem in caught.value.problems) == [
        "#/properties/a/type",
        "#/properties/b/minimum",
        "#/required",
    ]


def test_the_deepest_schema_still_works() -> None:
    """The bounds are met exactly, and what is within them can be used."""
    deep = check_schema("x.json", field(nested(MAX_DEPTH - 1)))
    wide = check_schema("x.json", field({"anyOf": [True] * (MAX_SUBSCHEMAS - 2)}))

    assert Validator(deep.input).violations({"a": []}) == []
    assert Validator(wide.input).violations({"a": []}) == []


def test_a_file_is_loaded(tmp_path: Path) -> None:
    """The path is the source; a file that is not there is a problem, not a crash."""
    path = tmp_path / "x.json"
    path.write_bytes(document())

    assert load_schema(path).source == str(path)
    with pytest.raises(ConfigError, match=r"gone\.json: cannot be read: No such file"):
        load_schema(tmp_path / "gone.json")


@pytest.mark.parametrize("path", sorted(SHIPPED.rglob("*.json")), ids=lambda path: str(path.relative_to(SHIPPED)))
def test_shipped_schemas_describe_a_form(path: Path) -> None:
    """Each loads, has an output, titles every field, and keeps its own defaults and examples."""
    schema = load_schema(path)

    assert isinstance(schema.output, dict)
    names: list[Json] = [*schema.fields()]
    assert schema.input["x-fal-order-properties"] == names
    for node in schema.fields().values():
        assert node["title"]
        assert node["description"]
        examples = node.get("examples", [])
        assert isinstance(examples, list)
        values = [*examples, node["default"]] if "default" in node else examples
        assert [Validator(node).violations(value) for value in values] == [[]] * len(values)


FIELDS: dict[str, tuple[list[Json], list[Json]]] = {
    "image_url": (
        ["https://example.com/a.png", "data:image/png;base64,iVBORw0KGgo=", ""],
        [None, 1, ["x"], {"url": "x"}],
    ),
    "prompt": (["a cat", "", "é\u2028\U0001f600", "x" * 100_000], [None, 1, True, []]),
    "image_size": (
        [
            "square_hd",
            "square",
            "portrait_4_3",
            "portrait_16_9",
            "landscape_4_3",
            "landscape_16_9",
            {},
            {"width": 1280, "height": 720},
            {"width": 1},
            {"height": 14142},
            {"width": 512.0},
            {"depth": 1},
        ],
        ["square_4k", "", None, 512, [], {"width": 0}, {"width": "1"}, {"height": 14143}, {"height": 0.5}],
    ),
    "num_inference_steps": ([1, 2, 4, "1", "2", "4", 1.0], [0, 3, 8, "3", "", "1.0", True, None, 1.5, [1]]),
    "strength": ([0, 1, 0.95, 0.05], [-0.01, 1.01, "0.5", True, None]),
    "seed": ([0, -1, 2**31, 2**53 + 1, 2**64, 10**200], ["1", 1.5, True, None]),
    "sync_mode": ([True, False], [0, "true", None]),
    "num_images": ([1, 4, 8, 2.0], [0, -1, 9, 10**6, 1.5, "1", True, None]),
    "embeddings": (
        [[], [{"path": "x"}], [{"path": "x", "tokens": []}], [{"path": "x", "tokens": ["<s0>", "<s1>"]}] * 3],
        [
            None,
            {},
            "x",
            [None],
            ["x"],
            [{}],
            [{"path": 1}],
            [{"path": "x", "tokens": "y"}],
            [{"path": "x", "tokens": [1]}],
        ],
    ),
    "enable_safety_checker": ([True, False], [1, "false", None]),
    "expand_prompt": ([True, False], [1, "", None]),
    "format": (["jpeg", "png"], ["jpg", "PNG", "", None, 1]),
    "safety_checker_version": (["v1", "v2"], ["v3", 1, None]),
    "guidance_rescale": ([0, 1, 0.7], [-1, 1.1, "0", None]),
    "preserve_aspect_ratio": ([True, False], ["yes", None]),
    "crop_output": ([True, False], [0, None]),
    "request_id": (["", "abc"], [1, None]),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, (good, _) in FIELDS.items() for value in good],
    ids=lambda c: str(c)[:32],
)
def test_hyper_sdxl_takes(name: str, value: Json) -> None:
    """Every field of the model takes what fal documents for it."""
    body: Json = {"image_url": "https://example.com/a.png", "prompt": "a cat", name: value}

    assert Validator(load_schema(HYPER_SDXL).input).violations(body) == []


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (_, bad) in FIELDS.items() for value in bad], ids=lambda c: str(c)[:32]
)
def test_hyper_sdxl_refuses(name: str, value: Json) -> None:
    """Every field refuses the rest, at its own place."""
    body: Json = {"image_url": "https://example.com/a.png", "prompt": "a cat", name: value}

    (error,) = Validator(load_schema(HYPER_SDXL).input).violations(body)

    assert error["loc"][:2] == ["body", name]


def test_hyper_sdxl_is_covered() -> None:
    """The two tables above name every field there is."""
    assert set(FIELDS) == set(load_schema(HYPER_SDXL).fields())


def test_hyper_sdxl_output() -> None:
    """The output schema takes a whole answer and misses what an answer must have."""
    output = load_schema(HYPER_SDXL).output
    assert isinstance(output, dict)
    image: Json = {"url": "https://example.com/a.jpeg", "width": 1024, "height": 1024, "content_type": "image/jpeg"}
    answer: dict[str, Json] = {
        "images": [image],
        "timings": {"inference": 0.3},
        "seed": 2**53 + 1,
        "has_nsfw_concepts": [False],
        "prompt": "a cat",
    }

    assert Validator(output).violations(answer) == []
    assert [error["loc"][1] for error in Validator(output).violations({})] == list(answer)
    assert Validator(output).violations({**answer, "images": [{"url": "x"}], "timings": {"a": "b"}}) != []
