from __future__ import annotations

import hashlib
import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_bodies import ROWS, VALID

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.errors import BadRequest, ConfigError, ContentTooLarge, Refusal, ValidationFailed
from proxy.fal_api.operations import Action, Target
from proxy.payload.body import Payload
from proxy.payload.policy import EndpointPolicy, Policy
from proxy.payload.rules import PayloadRules
from proxy.payload.shape import UnknownFields
from proxy.payload.validation.schema_file import SHIPPED, Schema, load_schema
from proxy.payload.validation.validator import MAX_VIOLATIONS, Validator
from proxy.strict_json import Json, parse

ENDPOINT = "fal-ai/hyper-sdxl/image-to-image"
HYPER_SDXL = load_schema(SHIPPED / f"{ENDPOINT}.json")
TOY = Schema(
    "toy.json",
    {
        "type": "object",
        "properties": {
            "text": {"type": "string", "title": "Text", "description": "Say it.", "minLength": 1},
            "steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 28},
            "seed": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "duration": {"enum": ["5", "10"], "default": "5"},
            "guidance": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "hd": {"type": "boolean"},
            "size": {"type": "object", "properties": {"width": {"type": "integer"}}},
            "odd": {"type": "string", "default": 7},
        },
        "required": ["text", "steps"],
        "x-fal-order-properties": ["text", "hd", "seed"],
    },
)


def policy(schema: Schema = TOY, /, **rules: object) -> EndpointPolicy:
    return EndpointPolicy("toy/app", schema, PayloadRules(**rules))  # type: ignore[arg-type]


def shaped(unknown_fields: UnknownFields = "refuse", *, coerce: bool = False, schema: Schema = TOY) -> EndpointPolicy:
    return EndpointPolicy("toy/app", schema, unknown_fields=unknown_fields, coerce=coerce)


def body(**fields: object) -> bytes:
    return json.dumps({"text": "hi", **fields}).encode()


def fields(admitting: EndpointPolicy) -> dict[str, Json]:
    properties = admitting.effective["properties"]
    assert isinstance(properties, dict)
    return properties


def refused(admitting: EndpointPolicy, raw: bytes) -> list[tuple[str | int, str]]:
    """Returns field and type of each error that *raw* is refused for."""
    with pytest.raises(ValidationFailed) as caught:
        admitting.admit(raw)
    return [(error["loc"][1], error["type"]) for error in caught.value.detail]


def grant(endpoint: str) -> Grant:
    caller = Caller("https://issuer.test", "alice", "0" * 64, frozenset(), 0.0, {})
    return Grant(caller, Target(Action.SUBMIT, endpoint, "toy/app"), None)


def test_a_valid_body_is_admitted() -> None:
    """The payload is the caller's object, compact."""
    payload = policy().admit(b' { "text" : "hi", "tags": ["a", "b"] } ')

    assert payload == Payload("toy/app", {"text": "hi", "tags": ["a", "b"]}, b'{"text":"hi","tags":["a","b"]}')


def test_a_payload_does_not_change() -> None:
    """No code between the check and the wire can change it."""
    payload = policy().admit(body())

    with pytest.raises(FrozenInstanceError):
        payload.raw = b"{}"  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 2**53 + 1},
        {"seed": 2**64 + 1},
        {"seed": -(10**298)},
        {"guidance": 0.1},
        {"guidance": 1e300},
        {"text": "é \u2028 \U0001f600 \0 \\ \" </script> ${x} {{x}} %00 '; DROP TABLE"},
        {"x-fal-target-url": "https://queue.fal.run/fal-ai/other", "fal_webhook": "https://example.com"},
        {"__proto__": {"a": 1}, "constructor": 1, "": 2},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_what_was_validated_is_what_is_sent(fields: dict[str, object]) -> None:
    """Numbers keep every digit, texts every character, and names in a body are data."""
    payload = shaped("pass").admit(body(**fields))

    assert payload.value == {"text": "hi", **fields}
    assert parse(payload.raw) == payload.value


@pytest.mark.parametrize(("raw", "status"), [pytest.param(raw, status, id=name) for name, raw, status in ROWS])
def test_hostile_bodies_are_refused(raw: bytes, status: int) -> None:
    """Every row gets its status and an answer that holds none of it at length."""
    with pytest.raises(Refusal) as caught:
        EndpointPolicy(ENDPOINT, HYPER_SDXL).admit(raw)

    assert caught.value.status == status
    assert len(json.dumps(caught.value.detail)) < 10_000


def test_the_number_of_values_is_capped_for_each_endpoint() -> None:
    """More values than the endpoint may have are a 413 that names the cap, and as many are accepted."""
    raw = b'{"image_url": "https://example.com/a.png", "prompt": "p", "embeddings": [' + b"{}," * 5 + b"{}]}"
    with pytest.raises(ContentTooLarge, match="more than 9 values") as caught:
        EndpointPolicy(ENDPOINT, HYPER_SDXL, max_elements=9).admit(raw)
    with pytest.raises(ValidationFailed):
        EndpointPolicy(ENDPOINT, HYPER_SDXL, max_elements=10).admit(raw)

    assert caught.value.error_type == "too_many_elements"


def test_the_value_can_be_freed_before_the_text() -> None:
    """Only the text is sent, and its digest is computed once."""
    payload = policy().admit(body())
    raw = payload.raw
    payload.drop_value()

    assert (payload.value, payload.raw, payload.digest()) == ({}, raw, hashlib.sha256(raw).digest())


def test_malformed_json_is_a_400_with_a_constant_reason() -> None:
    """The detail says what is wrong with the text, and nothing of it."""
    with pytest.raises(BadRequest) as caught:
        policy().admit(b'{"secret": 1, "secret": 2}')

    assert caught.value.detail == "Malformed JSON: duplicate member name"
    assert caught.value.error_type == "malformed_json"


@pytest.mark.parametrize("raw", [b"", b"{}"], ids=["empty", "no-members"])
def test_an_empty_body_is_an_empty_object(raw: bytes) -> None:
    """A call without input lists the fields it lacks, or is admitted where it lacks none."""
    assert refused(policy(), raw) == [("text", "missing")]
    assert policy(default={"text": "hi"}).admit(raw).raw == b'{"text":"hi"}'


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"hi"', b"1", b'[{"text": "hi"}]'])
def test_a_body_that_is_not_an_object_is_a_422(raw: bytes) -> None:
    """A body of valid JSON that is not an object gets fal's form of a 422."""
    with pytest.raises(ValidationFailed) as caught:
        policy(force={"seed": 1}, default={"hd": True}).admit(raw)

    assert caught.value.detail == [{"loc": ["body"], "msg": "Input should be a valid object", "type": "dict_type"}]


def test_every_error_comes_at_once() -> None:
    """Forbidden fields and the schema's complaints are one list."""
    admitting = policy(cap={"steps": 30}, forbid=frozenset({"seed", "hd"}))

    errors = refused(admitting, b'{"steps": 31, "seed": 1, "hd": true, "tags": [1]}')

    assert sorted(errors, key=str) == [
        ("hd", "extra_forbidden"),
        ("seed", "extra_forbidden"),
        ("steps", "less_than_equal"),
        ("tags", "string_type"),
        ("text", "missing"),
    ]
    assert len(refused(admitting, body(seed=1, tags=[1] * 60))) == MAX_VIOLATIONS


def test_force_overrides_in_silence() -> None:
    """The operator's value is sent, even where the caller's is invalid."""
    admitting = policy(force={"seed": 7, "text": "forced"})

    assert admitting.admit(b"{}").value == {"seed": 7, "text": "forced"}
    assert admitting.admit(b'{"seed": "x", "text": 5, "hd": true}').value == {"seed": 7, "text": "forced", "hd": True}
    assert fields(admitting)["text"] == {
        "title": "Text",
        "description": "Say it.",
        "const": "forced",
        "default": "forced",
    }
    assert admitting.effective["required"] == []


def test_default_fills_only_a_gap() -> None:
    """A field that is sent stays as it is, even wrong; null counts only where the schema has it."""
    admitting = policy(default={"seed": 7, "text": "hello", "guidance": 2})

    assert admitting.admit(b"{}").value == {"seed": 7, "text": "hello", "guidance": 2}
    assert admitting.admit(b'{"guidance": null, "seed": 0}').value == {"guidance": None, "seed": 0, "text": "hello"}
    assert admitting.admit(b'{"seed": null}').value["seed"] == 7
    assert refused(admitting, b'{"seed": "x"}') == [("seed", "int_type")]
    assert fields(admitting)["seed"] == {"type": "integer", "default": 7}
    assert admitting.effective["required"] == []


@pytest.mark.parametrize(
    ("name", "limit", "good", "bad", "error_type"),
    [
        ("steps", 30, 30, 31, "less_than_equal"),
        ("steps", 99, 50, 51, "less_than_equal"),
        ("seed", 2**64, 2**64, 2**64 + 1, "less_than_equal"),
        ("guidance", 1.5, 1.5, 1.6, "less_than_equal"),
        ("guidance", 1.5, None, 2, "less_than_equal"),
        ("text", 3, "abc", "abcd", "string_too_long"),
        ("tags", 1, ["a"], ["a", "b"], "sequence_too_long"),
        ("duration", 5, "5", "10", "one_of"),
    ],
)
def test_cap_bounds_what_may_be_asked_for(name: str, limit: float, good: object, bad: object, error_type: str) -> None:
    """By type: a value, a length, a number of items or a choice; never more than the schema allows."""
    admitting = policy(cap={name: limit})

    assert admitting.admit(body(**{name: good})).value[name] == good
    assert refused(admitting, body(**{name: bad})) == [(name, error_type)]


@pytest.mark.parametrize("steps", [4, "4", 4.0], ids=repr)
def test_cap_holds_for_every_spelling(steps: object) -> None:
    """Steps that fal takes as a number or as a string are capped as both."""
    admitting = EndpointPolicy(ENDPOINT, HYPER_SDXL, PayloadRules(cap={"num_inference_steps": 2}))

    assert refused(admitting, json.dumps({**VALID, "num_inference_steps": steps}).encode()) == [
        ("num_inference_steps", "one_of")
    ]
    for fewer in (1, "2"):
        payload = admitting.admit(json.dumps({**VALID, "num_inference_steps": fewer}).encode())
        assert payload.value["num_inference_steps"] == fewer


def test_cap_goes_with_a_default() -> None:
    """An operator's default replaces fal's own where that is over the cap."""
    admitting = policy(cap={"steps": 10}, default={"steps": 8})

    assert admitting.admit(body()).value["steps"] == 8
    assert fields(admitting)["steps"] == {"type": "integer", "minimum": 1, "maximum": 10, "default": 8}


def test_forbid_refuses_and_hides() -> None:
    """A forbidden field is in no form, and sending it is an error at its place, with any value."""
    admitting = policy(forbid=frozenset({"hd"}))

    assert refused(admitting, body(hd=None)) == [("hd", "extra_forbidden")]
    assert "hd" not in fields(admitting)
    assert admitting.effective["x-fal-order-properties"] == ["text", "seed"]


def test_a_schema_need_not_order_its_fields() -> None:
    """The order is fal's extra; a plain schema goes without."""
    plain = Schema("plain.json", {"type": "object", "properties": {"a": {}, "b": {}}})

    assert policy(plain, forbid=frozenset({"a"})).effective == {
        "type": "object",
        "properties": {"b": {}},
        "required": [],
    }


def test_unknown_fields_are_refused_by_default() -> None:
    """A field that the schema does not have is an error, unless the document says that it takes more."""
    closed = Schema("closed.json", {**TOY.input, "additionalProperties": False})
    open_ = Schema("open.json", {**TOY.input, "additionalProperties": True})

    assert refused(policy(), body(unknown=1)) == [("unknown", "extra_forbidden")]
    assert policy(open_).admit(body(unknown=1)).value["unknown"] == 1
    assert ("unknown", "extra_forbidden") in refused(policy(closed), body(unknown=1))
    assert refused(policy(closed, forbid=frozenset({"hd"})), body(hd=True)) == [("hd", "extra_forbidden")]


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"force": {"nope": 1}}, "toy/app.force.nope: is not a field of toy.json"),
        ({"default": {"nope": 1}}, "toy/app.default.nope: is not a field of toy.json"),
        ({"cap": {"nope": 1}}, "toy/app.cap.nope: is not a field of toy.json"),
        ({"forbid": {"nope"}}, "toy/app.forbid.nope: is not a field of toy.json"),
        ({"forbid": {"Text"}}, 'toy/app.forbid.Text: is not a field of toy.json; did you mean "text"?'),
        ({"force": {"seed": "x"}}, "toy/app.force.seed: does not fit the schema: Input should be a valid integer"),
        ({"force": {"duration": "7"}}, 'toy/app.force.duration: does not fit the schema: Input should be "5" or "10"'),
        (
            {"force": {"size": {"width": "x"}}},
            "toy/app.force.size: does not fit the schema at width: Input should be a valid integer",
        ),
        (
            {"default": {"tags": ["a", 1]}},
            "toy/app.default.tags: does not fit the schema at 1: Input should be a valid string",
        ),
        ({"force": {"guidance": float("nan")}}, "toy/app.force.guidance: is not a value JSON has"),
        ({"default": {"guidance": float("inf")}}, "toy/app.default.guidance: is not a value JSON has"),
        ({"force": {"seed": 10**300}}, "toy/app.force.seed: is not a value JSON has"),
        ({"force": {"text": "\ud800"}}, "toy/app.force.text: is not a value JSON has"),
        ({"cap": {"seed": float("nan")}}, "toy/app.cap.seed: is not a number"),
        ({"cap": {"seed": True}}, "toy/app.cap.seed: is not a number"),
        ({"cap": {"hd": 1}}, "toy/app.cap.hd: cannot be capped: the field is not always a number, a string or a list"),
        ({"cap": {"text": 0}}, "toy/app.cap.text: cannot be capped: the schema accepts no value that small"),
        (
            {"cap": {"steps": 10}},
            "toy/app.cap.steps: is below the default of the model itself; give a default for the field, too",
        ),
        (
            {"cap": {"steps": 10}, "default": {"steps": 11}},
            "toy/app.default.steps: does not fit the schema: Input should be less than or equal to 10",
        ),
        ({"forbid": {"text"}}, "toy/app.forbid.text: is a required field, so every request would be rejected"),
    ],
    ids=lambda case: str(case)[:48],
)
def test_a_rule_that_does_not_fit_stops_the_start(rules: dict[str, object], problem: str) -> None:
    """The problem names the endpoint, the rule and the field."""
    with pytest.raises(ConfigError) as caught:
        policy(**rules)

    assert [str(found) for found in caught.value.problems] == [problem]


@pytest.mark.parametrize(
    ("rules", "keys"),
    [
        ({"force": {"seed": 1}, "default": {"seed": 1}}, ["default.seed", "force.seed"]),
        ({"force": {"seed": 1}, "cap": {"seed": 1}}, ["cap.seed", "force.seed"]),
        ({"force": {"seed": 1}, "forbid": {"seed"}}, ["force.seed", "forbid.seed"]),
        ({"default": {"seed": 1}, "forbid": {"seed"}}, ["default.seed", "forbid.seed"]),
        ({"cap": {"seed": 1}, "default": {"seed": 1}, "forbid": {"seed"}}, ["cap.seed", "default.seed", "forbid.seed"]),
        ({"force": {"nope": 1, "seed": "x"}, "forbid": {"no"}}, ["force.nope", "force.seed", "forbid.no"]),
    ],
    ids=lambda case: str(case)[:48],
)
def test_all_problems_are_named_at_once(rules: dict[str, object], keys: list[str]) -> None:
    """Contradictions are reported on both sides, and the first problem hides no other."""
    with pytest.raises(ConfigError) as caught:
        policy(**rules)

    assert [found.key.removeprefix("toy/app.") for found in caught.value.problems] == keys


def test_a_default_that_never_fitted_does_not_stop_a_cap() -> None:
    """fal's schemas have some; the cap is not what is wrong with them."""
    assert fields(policy(cap={"odd": 10}))["odd"] == {"type": "string", "default": 7, "maxLength": 10}


def test_the_schema_is_shared_and_stays_as_it_was() -> None:
    """Rules of one endpoint do not reach another that uses the same file."""
    before = json.dumps(HYPER_SDXL.input)

    EndpointPolicy(
        "a/b", HYPER_SDXL, PayloadRules({"seed": 1}, {"format": "png"}, {"num_images": 2}, frozenset({"sync_mode"}))
    )

    assert json.dumps(HYPER_SDXL.input) == before
    assert EndpointPolicy("a/c", HYPER_SDXL).effective == HYPER_SDXL.input


def test_the_effective_schema_is_what_decides() -> None:
    """The form and /openapi.json show the same schema that a body is validated against."""
    rules = PayloadRules(
        {"enable_safety_checker": True}, {"format": "png"}, {"num_images": 2}, frozenset({"sync_mode"})
    )
    admitting = EndpointPolicy(ENDPOINT, HYPER_SDXL, rules)

    payload = admitting.admit(json.dumps(VALID).encode())

    assert payload.value == {**VALID, "enable_safety_checker": True, "format": "png"}
    assert Validator(admitting.effective).violations(payload.value) == []
    assert "$ref" not in json.dumps(admitting.effective)


def test_the_policy_decides_by_the_endpoint_called() -> None:
    """Two endpoints of one app have rules of their own."""
    decided = Policy([policy(), EndpointPolicy("toy/app/fast", TOY, PayloadRules(force={"steps": 4}))])

    assert decided.admit(grant("toy/app"), body()).raw == b'{"text":"hi"}'
    assert decided.admit(grant("toy/app/fast"), body()) == Payload(
        "toy/app/fast", {"text": "hi", "steps": 4}, b'{"text":"hi","steps":4}'
    )
    assert decided.effective("toy/app") == policy().effective
    assert decided.output("toy/app") is None
    assert Policy([EndpointPolicy(ENDPOINT, HYPER_SDXL)]).output(ENDPOINT) == HYPER_SDXL.output


json_values: st.SearchStrategy[Json] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text("aé1")
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("aé1", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*HYPER_SDXL.fields(), "other"]), json_values, max_size=6))
def test_whatever_is_admitted_keeps_the_rules(sent: dict[str, Json]) -> None:
    """Any body is refused with a list, or sent with forced values, below caps, without forbidden fields."""
    rules = PayloadRules(
        {"enable_safety_checker": True}, {"format": "png"}, {"num_images": 2}, frozenset({"sync_mode"})
    )
    admitting = EndpointPolicy(ENDPOINT, HYPER_SDXL, rules)
    try:
        payload = admitting.admit(json.dumps({**VALID, **sent}).encode())
    except ValidationFailed:
        assert {"sync_mode", "other"} & sent.keys() or Validator(admitting.effective).violations({**VALID, **sent})
        return

    images = payload.value.get("num_images", 1)
    assert payload.value["enable_safety_checker"] is True
    assert isinstance(images, int | float)
    assert images <= 2
    assert "sync_mode" not in payload.value
    assert parse(payload.raw) == payload.value
