"""Tests of proxy.jsontext."""

from __future__ import annotations

import contextlib
import math
import time
import tracemalloc

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_bodies import ROWS

from proxy.errors import MalformedJson
from proxy.strict_json import MAX_PLAIN, TOO_MANY, Json, dump, parse

REASONS = {
    "not JSON",
    "not UTF-8",
    "duplicate member name",
    "lone surrogate",
    "number out of range",
    "too many values",
    "nested too deeply",
}

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**200), 10**200), st.floats(allow_nan=False, allow_infinity=False), text
)
values: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=20,
)
# Bytes that are nearly JSON find more than bytes drawn evenly.
fragments = st.lists(
    st.one_of(
        st.sampled_from(
            [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b" ", b"\n", b"1", b"-", b".", b"e", b"\\ud8"]
        ),
        st.sampled_from(
            [b"null", b"true", b'"a"', b'"a":', b"\\u0061", b"\\ud83d\\ude00", b"\xc3\xa9", b"\xed\xa0\x80"]
        ),
        st.binary(max_size=3),
    ),
    max_size=24,
).map(b"".join)


def nodes(value: Json) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(nodes, inner))


def depth(value: Json) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def spaced(value: Json) -> bytes:
    return orjson.dumps(orjson.loads(dump(value)), option=orjson.OPT_INDENT_2)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"null", None),
        (b" \t\r\n0 \t\r\n", 0),
        (b'""', ""),
        (b"[]", []),
        (b"{}", {}),
        (b'{"a": [1, {"b": []}, "", null, true, false]}', {"a": [1, {"b": []}, "", None, True, False]}),
        (b'"\\u00e9\\n\\/\\\\\\"\\u0000"', 'é\n/\\"\0'),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\ud800"', "\\ud800"),
        ('"é\U0001f600\u2028"'.encode(), "é\U0001f600\u2028"),
        (b'{"": 1, " ": 2, "a": 3, "A": 4}', {"": 1, " ": 2, "a": 3, "A": 4}),
        # Other names to a machine, however alike on a screen.
        ('{"\u00e9": 1, "e\u0301": 2}'.encode(), {"\u00e9": 1, "e\u0301": 2}),
        (b"9223372036854775808", 2**63),
        (b"18446744073709551617", 2**64 + 1),
        (b"-9007199254740993", -(2**53) - 1),
        (b"9" * 300, int("9" * 300)),
        (b"1e308", 1e308),
        (b"0.1", 0.1),
        (b"1e-400", 0.0),
    ],
    ids=lambda value: str(value)[:24],
)
def test_accepts_all_of_json(raw: bytes, value: Json) -> None:
    """Any RFC 8259 text with unique names has its one meaning; nothing is rounded."""
    parsed = parse(raw)

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("raw", [pytest.param(raw, id=name) for name, raw, status in ROWS if status in (400, 413)])
def test_refuses_with_a_constant_reason(raw: bytes) -> None:
    """A text that is not strict JSON is refused with a message that has none of it."""
    with pytest.raises(MalformedJson) as caught:
        parse(raw)

    assert str(caught.value) in REASONS


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": 1, "\\u0061": 2}', "duplicate member name"),
        (b'["\\ud800"]', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b"[1e309]", "number out of range"),
        (b"9" * 301, "number out of range"),
        (b"0." + b"1" * 299, "number out of range"),
        (b"\xff", "not UTF-8"),
        (b"[1,]", "not JSON"),
        (b"[" * 65 + b"]" * 65, "nested too deeply"),
        (b"[" + b"[]," * 40 + b"]" * 120, "not JSON"),
        (b"[" + b"0," * 99_999 + b"0]", "too many values"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_says_why(raw: bytes, reason: str) -> None:
    """The reason names the rule that was broken."""
    with pytest.raises(MalformedJson, match=f"^{reason}$"):
        parse(raw)


@pytest.mark.parametrize(
    "inside",
    [b"", b'"a"', b'"]]]]"', b'"\\"[[["', b'"\\\\", "[\\\\\\"["', b'" , , , "', b'"{}"'],
    ids=["empty", "string", "closers", "escaped-quote", "escaped-backslash", "commas", "braces"],
)
def test_depth_is_counted_exactly(inside: bytes) -> None:
    """Sixty-four levels pass and sixty-five do not, with any text in strings."""
    parse(b"[" * 64 + inside + b"]" * 64)

    with pytest.raises(MalformedJson, match=r"^nested too deeply$"):
        parse(b"[" * 65 + inside + b"]" * 65)


@pytest.mark.parametrize(
    "raw",
    [
        b'[1,2,3,4,"5",[],{"a":null,"b":[]}]',
        b'[ 1,2,3,4,"5",[ ],{ "a":null,"b":[\n] } ]',
        b'[",,[{",2,3,4,"\\",",[],{"\\\\,":null,",":[]}]',
    ],
    ids=["dense", "spaced", "commas-in-strings"],
)
def test_values_are_counted_exactly(raw: bytes) -> None:
    """A text with ten values passes a limit of ten and not of nine; an empty list is one value."""
    assert nodes(parse(raw, max_nodes=10)) == 10

    with pytest.raises(MalformedJson, match=r"^too many values$"):
        parse(raw, max_nodes=9)


@settings(deadline=None)
@given(values)
def test_limits_are_exact(value: Json) -> None:
    """Both limits let exactly the values through that keep them."""
    raw = spaced(value)
    count, levels = nodes(value), depth(value)

    parse(raw, max_nodes=count, max_depth=levels)
    for limits in ({"max_nodes": count - 1}, {"max_depth": levels - 1}):
        with pytest.raises(MalformedJson):
            parse(raw, **limits)


@settings(deadline=None)
@given(values)
def test_dump_and_parse_are_inverse(value: Json) -> None:
    """The sent text has the value that was validated."""
    again = parse(dump(value))

    assert again == value
    assert dump(again) == dump(value)


@settings(deadline=None)
@given(fragments)
def test_bytes_are_json_or_malformed(raw: bytes) -> None:
    """No bytes raise anything else, and what is accepted another strict parser takes, too."""
    try:
        value = parse(raw)
    except MalformedJson:
        return

    assert nodes(orjson.loads(raw)) == nodes(value)
    assert parse(dump(value)) == value


@pytest.mark.parametrize(
    "value",
    [2**63, 2**64, -(2**63) - 1, 10**299, [{"seed": 2**70, "x": "é\u2028", "f": 0.1}]],
    ids=lambda v: str(v)[:24],
)
def test_dump_keeps_big_integers(value: Json) -> None:
    """No integer turns into a float on the way out."""
    assert parse(dump(value)) == value
    assert b"e+" not in dump(value)


def test_dump_is_compact_utf8() -> None:
    """The text is as short as it can be, with or without a big integer in it."""
    assert dump({"a": [1, "é"], "b": 1.5}) == '{"a":[1,"é"],"b":1.5}'.encode()
    assert dump({"a": [2**64, "é"], "b": 1.5}) == '{"a":[18446744073709551616,"é"],"b":1.5}'.encode()


@pytest.mark.parametrize(
    "raw",
    [
        b'{"image_url":"' + b"A" * 2_000_000 + b'"}',
        b'["' + b"\\" * 2_000_000 + b'"]',
        b'["' + b'\\"' * 1_000_000,
        b"[" * 70 + b'"' + b'\\"' * 1_000_000,
        b'"' * 2_000_000,
        b"[" * 2_000_000,
        b"]" * 2_000_000,
        b"[" * 70 + b"]" * 2_000_000,
        b"[" + b" " * 2_000_000 + b"]",
        b"[" + b"1" * 2_000_000 + b"]",
        b'"' + b"\\ud83d\\ude00" * 160_000 + b'"',
    ],
    ids=lambda raw: f"{raw[:3]!r}-{len(raw)}",
)
def test_time_is_linear(raw: bytes) -> None:
    """Two megabytes of anything are judged at once; a quadratic step would take hours."""
    start = time.thread_time()
    with contextlib.suppress(MalformedJson):
        parse(raw)

    assert time.thread_time() - start < 1.0


@pytest.mark.parametrize("item", [b"{},", b"[],", b'"",', b"1,", b'"ab",'], ids=repr)
def test_a_bomb_is_refused_before_it_is_built(item: bytes) -> None:
    """Judging a million values takes a few times the memory of the text, not that of the values."""
    raw = b"[" + item * 1_000_000 + b"0]"
    tracemalloc.start()

    with pytest.raises(MalformedJson, match=r"^too many values$"):
        parse(raw)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(raw)


def test_floats_stay_finite() -> None:
    """The largest double is accepted, the next step is not."""
    assert parse(b"1.7976931348623157e308") == math.nextafter(math.inf, 0)

    with pytest.raises(MalformedJson):
        parse(b"1.7976931348623159e308")


# White space after a text makes it a large one, which is parsed in another way.
PADDING = b" " * (MAX_PLAIN + 1)


@given(values)
@settings(max_examples=50, deadline=None)
def test_a_large_text_has_the_same_value(value: Json) -> None:
    """Another parser, whose strings are made wide one by one, changes no character and no number."""
    raw = dump(value)

    assert dump(parse(raw + PADDING)) == dump(parse(raw))


@given(fragments)
@settings(max_examples=200, deadline=None)
def test_a_large_text_is_judged_as_a_small_one(raw: bytes) -> None:
    """Both parsers refuse the same texts, and a text that they accept has one value."""

    def judged(text: bytes) -> bytes | None:
        try:
            return dump(parse(text))
        except MalformedJson:
            return None

    assert judged(raw + PADDING) == judged(raw)


@pytest.mark.parametrize("raw", [pytest.param(raw, id=name) for name, raw, status in ROWS if status in (400, 413)])
def test_hostile_bodies_are_refused_at_any_size(raw: bytes) -> None:
    """No fault passes because white space makes the text a large one."""
    with pytest.raises(MalformedJson) as caught:
        parse(raw + PADDING)

    assert str(caught.value) in REASONS


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'["\xff"]', "not UTF-8"),
        (b'["\xed\xa0\x80"]', "not UTF-8"),
        (b'{"\xc3": 1}', "not UTF-8"),
        (b'["\\ud800"]', "lone surrogate"),
        (b'["\\udc00"]', "lone surrogate"),
        (b'["\\ud800\\u0061"]', "lone surrogate"),
        (b'{"\\ud800": 1}', "lone surrogate"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": {"\xc3\xa9": 1, "\xc3\xa9": 2}}', "duplicate member name"),
        (b'{"a:": 1, "b": [{"\xc3\xa9": ":", "\\u00e9": 2}]}', "duplicate member name"),
        (b"1" * 301, "number out of range"),
        (b"0." + b"1" * 299, "number out of range"),
        (b'["\\ud800", 18446744073709551616]', "lone surrogate"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_large_text_is_refused_for_the_same_reason(raw: bytes, reason: str) -> None:
    """The same faults are named."""
    with pytest.raises(MalformedJson, match=f"^{reason}$"):
        parse(raw + PADDING)


@pytest.mark.parametrize(
    "raw",
    [
        b'["\\u001b \xc3\xa9"]',
        b'["C:\\\\users\xc3\xa9"]',
        b'["\\ud83d\\ude00"]',
        b'["\xc3\xa9", "\\u2028"]',
        b'{"a:b": ":", "c": {"a:b": ["\\":"]}}',
    ],
)
def test_a_large_text_may_have_any_escape(raw: bytes) -> None:
    """Clients escape control characters, line separators beside other characters, or all but ASCII."""
    assert parse(raw + PADDING) == parse(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775808", -(2**63)),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"9" * 300, int("9" * 300)),
        (b"0." + b"1" * 30, float("0." + "1" * 30)),
        (b"-1.2345678901234567e-05", -1.2345678901234567e-05),
    ],
    ids=lambda value: str(value)[:24],
)
def test_numbers_of_a_large_text_are_exact(raw: bytes, value: float) -> None:
    """No integer becomes a float, however large it is."""
    parsed = parse(raw + PADDING)

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("escapes", [b"\\\\", b'\\"', b"\\n", b'\\\\\\"', b"\\\\\\n"], ids=repr)
def test_escapes_are_found_wherever_a_text_is_cut(before: int, escapes: bytes) -> None:
    """A large text is searched in parts, whose ends may fall on any byte of an escape."""
    inside = b"a" * before + escapes * (2 * MAX_PLAIN // len(escapes))
    raw = b'{"' + inside + b'": [1, {"b": 2}], "c": "' + inside + b'"}'

    assert parse(raw, max_nodes=6) == orjson.loads(raw)
    with pytest.raises(MalformedJson, match=TOO_MANY):
        parse(raw, max_nodes=4)


@pytest.mark.parametrize("end", ["\U0001f600".encode(), b"\\ud83d\\ude00"], ids=["bytes", "escapes"])
def test_one_emoji_widens_its_own_string_alone(end: bytes) -> None:
    """A file of ASCII beside a prompt with an emoji keeps one byte for a character."""
    raw = b'{"image_url": "' + b"a" * 4 * MAX_PLAIN + b'", "prompt": "' + end + b'"}'
    tracemalloc.start()
    value = parse(raw)
    retained = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert value == {"image_url": "a" * 4 * MAX_PLAIN, "prompt": "\U0001f600"}
    assert retained < 1.1 * len(raw)
    assert parse(b'["' + b"a" * MAX_PLAIN + end + b'"]') == ["a" * MAX_PLAIN + "\U0001f600"]


@pytest.mark.parametrize("pair", [b"[]", b"{}"])
def test_empty_values_without_commas_are_no_text(pair: bytes) -> None:
    """A text is refused by their number, as a look at the nesting of ten million would take half a second."""
    started = time.thread_time()
    with pytest.raises(MalformedJson, match="not JSON"):
        parse(pair * 2_000_000)

    assert time.thread_time() - started < 0.1
