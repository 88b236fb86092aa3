"""Request bodies under an endpoint's rules, against `json`, `jsonschema` and a second reading of URLs."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterable, Iterator
from functools import cache
from random import Random

import jsonschema
from fuzz.target import Target
from support.hostile_bodies import ROWS, VALID
from support.hostile_urls import GOOD_URLS, HOSTILE_URLS
from support.random_payloads import random_payload

from proxy.errors import BadRequest, ContentTooLarge, ValidationFailed
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.files.input_files import FileRules
from proxy.payload.policy import EndpointPolicy
from proxy.payload.rules import PayloadRules
from proxy.payload.validation.schema_file import SHIPPED, UNTYPED, load_schema
from proxy.payload.validation.validator import MAX_VIOLATIONS, Validator
from proxy.strict_json import Json, dump, parse

PICTURES = "fal-ai/hyper-sdxl/image-to-image"
FORCED: dict[str, Json] = {"sync_mode": False}
DEFAULTS: dict[str, Json] = {"num_images": 2}
FORBIDDEN = frozenset({"expand_prompt"})
MOST_IMAGES = 3
OUR_HOSTS = (".fal.media", "cdn.example.com")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
MAX_MESSAGE = 1500  # characters: a message lists what a schema accepts, and repeats at most 64 of the input's


class Case:
    """Endpoint with its policy, its schema for `jsonschema`, and whether only *OUR_HOSTS* are accepted."""

    def __init__(self, policy: EndpointPolicy, *, our_hosts: bool = False) -> None:
        self.policy = policy
        self.our_hosts = our_hosts
        self.validator = Validator(policy.effective)
        self.oracle = jsonschema.Draft202012Validator(policy.effective)


@cache
def _cases() -> tuple[Case, ...]:
    pictures = load_schema(SHIPPED / f"{PICTURES}.json")
    rules = PayloadRules(force=FORCED, default=DEFAULTS, cap={"num_images": MOST_IMAGES}, forbid=FORBIDDEN)
    hosts = HostAllowlist.from_patterns(["*.fal.media", "cdn.example.com"])
    names = ("fal-ai/nano-banana/edit", "fal-ai/veo3.1", "fal-ai/minimax/speech-02-hd", "openrouter/router")
    return (
        Case(EndpointPolicy(PICTURES, pictures)),
        Case(EndpointPolicy(PICTURES, pictures, rules, FileRules(hosts), coerce=True), our_hosts=True),
        Case(EndpointPolicy(PICTURES, pictures, unknown_fields="drop", coerce=True)),
        Case(EndpointPolicy(PICTURES, pictures, unknown_fields="pass")),
        *(Case(EndpointPolicy(name, load_schema(SHIPPED / f"{name}.json"))) for name in names),
        Case(EndpointPolicy("a/b", UNTYPED)),
    )


def check(data: bytes) -> None:
    """Checks *data*: a byte for the endpoint, and the body of a request."""
    if not data:
        return
    cases = _cases()
    case, body = cases[data[0] % len(cases)], data[1:]
    try:
        payload = case.policy.admit(body)
    except BadRequest as refusal:
        _check_malformed(body, str(refusal.detail))
        return
    except ContentTooLarge:
        return
    except ValidationFailed as refusal:
        _check_refused(case, body, refusal)
        return
    _check_validators(case, payload.value)
    assert case.oracle.is_valid(payload.value)
    assert json.loads(payload.raw) == payload.value == parse(payload.raw)
    # What is sent would be admitted, and changes no more.
    assert case.policy.admit(payload.raw).raw == payload.raw
    if case.our_hosts:
        _check_rules(payload.value)
    for name, text in _texts("", payload.value):
        _check_url(name, text, our_hosts=case.our_hosts)


def _check_malformed(body: bytes, detail: str) -> None:
    """Checks that `json` refuses the body too, unless it is one of those with two meanings."""
    reason = detail.partition(": ")[2]
    if reason in ("not UTF-8", "not JSON"):
        try:
            json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return
        raise AssertionError(f"{reason}: json.loads reads it")
    known = {"duplicate member name", "lone surrogate", "number out of range", "nested too deeply"}
    assert reason in known, reason


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _check_refused(case: Case, body: bytes, refusal: ValidationFailed) -> None:
    assert 0 < len(refusal.detail) <= MAX_VIOLATIONS
    for error in refusal.detail:
        assert error.keys() == {"loc", "msg", "type"}
        assert error["loc"][0] == "body"
        assert len(error["msg"]) <= MAX_MESSAGE
        assert all(len(str(step)) <= 80 for step in error["loc"])
    value = parse(body or b"{}")
    assert value == json.loads(body or b"{}")
    _check_validators(case, value)


def _check_validators(case: Case, value: Json) -> None:
    """Checks that both validators agree on *value*."""
    admits = case.validator.admits(value)
    assert admits == (not case.validator.violations(value))
    # A double has no exact meaning where it stands for an integer beyond its 53 bits.
    if all(abs(number) < 2**53 for number in _numbers(value)):
        assert admits == case.oracle.is_valid(value), (admits, value)


def _numbers(value: Json) -> Iterator[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)


def _check_rules(value: dict[str, Json]) -> None:
    assert {name: value[name] for name in FORCED} == FORCED
    assert FORBIDDEN.isdisjoint(value)
    images = value["num_images"]
    assert isinstance(images, int | float)
    assert 0 < images <= MOST_IMAGES
    assert math.isfinite(images)


def _texts(name: str, value: Json) -> Iterator[tuple[str, str]]:
    """Yields every text in *value* with the name of its field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(name, item)
    elif isinstance(value, dict):
        for step, item in value.items():
            yield from _texts(step, item)


def _check_url(name: str, text: str, *, our_hosts: bool) -> None:
    """Checks a text that a fetcher could read as a URL with a host, as the URL Standard of WHATWG does."""
    url = text.strip("".join(map(chr, range(33)))).translate({9: None, 10: None, 13: None}).replace("\\", "/")
    scheme, colon, rest = url.partition("://")
    if not colon or _SCHEME.fullmatch(scheme) is None or (scheme.lower() == "data" and "," in rest):
        return
    if any(char.isspace() for char in url) and name in ("prompt", "text", "content", "input", "lyrics"):
        return
    assert scheme.lower() == "https", (name, text)
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    host = authority.lower()
    assert host == authority.lower().strip(".:@[]"), (name, text)
    assert not set(host) & set("@:[]% "), (name, text)
    last = host.rpartition(".")[2]
    assert "." in host, (name, text)
    assert last[0].isalpha(), (name, text)
    assert last not in ("localhost", "local", "internal"), (name, text)
    if our_hosts:
        assert host == OUR_HOSTS[1] or host.endswith(OUR_HOSTS[0]), (name, text)


def seeds() -> Iterable[bytes]:
    """Yields hostile bodies, random valid ones of each endpoint, and URLs in several fields."""
    for _, body, *_ in ROWS:
        if len(body) < 2000:
            yield b"\0" + body
    dice = Random(1)
    for number, case in enumerate(_cases()):
        yield from (bytes([number]) + dump(random_payload(case.policy.effective, dice)) for _ in range(6))
    for number, (_, url) in enumerate([*HOSTILE_URLS, *GOOD_URLS.items()]):
        field = ("image_url", "prompt", "format", "x", "embeddings")[number % 5]
        value: Json = [{"path": url}] if field == "embeddings" else url
        yield bytes([number % 4]) + dump({**VALID, field: value})[:2000]
    for fields in _EXTRAS:
        yield from (bytes([number]) + dump({**copy.deepcopy(VALID), **fields}) for number in (0, 1, 2, 3, 8))


_EXTRAS: tuple[dict[str, Json], ...] = (
    {"num_images": 4},
    {"num_images": "3"},
    {"num_images": 3.0},
    {"sync_mode": True},
    {"expand_prompt": None},
    {"seed": 2**64},
    {"image_url": "https://v3.fal.media/a.png", "image_size": {"width": 512}},
    {"image_url": "data:image/png;base64,iVBORw0KGgo="},
    {"embeddings": [{"path": "https://cdn.example.com/a", "tokens": ["<s0>"]}]},
    {"x": {"y": [1, {"z": None}]}},
)

TARGET = Target(
    "payload_rules",
    check,
    seeds,
    words=(
        *b'"prompt": "image_url": "num_images": "image_size": "seed": "sync_mode": "format": "embeddings":['.split(),
        *b'"path": "input":{ "messages":[{"role":"user","content": null true 1e3 1.0 -1 18446744073709551616'.split(),
        *b'{ } [ ] , : " \\u0000 \\t https:// http:// // \\\\ data:image/png;base64, file:///'.split(),
        *b"127.0.0.1 .fal.media cdn.example.com @ ? # %2f \\ud83d\\ude00 \\ud800 \xc3\xa9 \xe2\x80\x8b".split(),
    ),
)
