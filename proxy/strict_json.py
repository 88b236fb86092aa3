"""Strict JSON: a text with one meaning only, so that the checked value is the value that is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from itertools import accumulate
from json.scanner import make_scanner
from typing import NoReturn, TypeAlias

import orjson

from proxy.errors import MalformedJson

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

TOO_MANY = "too many values"
LONG_TEXT = "a long text with characters beyond ASCII"

# Bytes of a text, and characters of a string in it, from which characters beyond ASCII are costly. CPython then keeps 4
# bytes for each character. It holds the interpreter lock meanwhile: 0.1 s for 10 MB with one emoji.
MAX_WIDE = 1024 * 1024

# Shorter than the 309 digits of the largest double, so that a validator can read every integer as a finite float.
_MAX_NUMBER = 300

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_WIDE_ESCAPE = re.compile(rb"\\u(?!00[0-7])")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _STEP)


def parse(raw: bytes, *, max_depth: int = 64, max_nodes: int = 100_000) -> Json:
    """Parses one RFC 8259 text in UTF-8 with unique member names (RFC 7493 section 2.3).

    Integers are exact at any size. A number has at most 300 characters. *max_nodes* limits the values in the text, and
    *max_depth* their nesting; both are checked before any value is built. Raises MalformedJson and nothing else.
    The message is TOO_MANY where there are more than *max_nodes* values. It is LONG_TEXT for a string of more than
    MAX_WIDE characters that are not all ASCII.
    """
    _check_size(raw, max_depth, max_nodes)
    if len(raw) > MAX_WIDE:
        return _parse_large(raw)
    try:
        text = raw.decode("utf-8").strip(_WHITE_SPACE)
        value, end = (_SCAN if len(text) > _MAX_NUMBER else _SCAN_SHORT)(text, 0)
    except UnicodeDecodeError as exc:
        raise MalformedJson("not UTF-8") from exc
    except (json.JSONDecodeError, StopIteration) as exc:
        raise MalformedJson("not JSON") from exc
    if end != len(text):
        raise MalformedJson("not JSON")
    if b"\\" in raw and _SURROGATE_ESCAPE.search(raw):
        _refuse_lone_surrogates(value)
    return value


def _parse_large(raw: bytes) -> Json:
    """Parses as `parse`, with a character for each byte, and decodes the strings one by one."""
    is_ascii, has_escapes = raw.isascii(), b"\\u" in raw
    # An escape beyond ASCII would look like a byte. No client writes both.
    if has_escapes and not is_ascii and _WIDE_ESCAPE.search(raw.replace(b"\\\\", b"")):
        raise MalformedJson(LONG_TEXT)
    try:
        value: Json = _DECODER.decode(raw.decode("latin-1"))
    except json.JSONDecodeError as exc:
        raise MalformedJson("not JSON") from exc
    return value if is_ascii and not has_escapes else _decoded(value, "ascii" if is_ascii else "latin-1")


def _decoded(value: Json, coding: str) -> Json:
    """Returns *value* with its strings decoded as UTF-8.

    They are checked alone where *coding* is ASCII, because then they come from escapes.
    """
    if isinstance(value, str):
        return value if value.isascii() else _decoded_string(value, coding)
    if isinstance(value, list):
        return [_decoded(item, coding) for item in value]
    if isinstance(value, dict):
        return {_decoded_string(name, coding): _decoded(item, coding) for name, item in value.items()}
    return value


def _decoded_string(value: str, coding: str) -> str:
    if value.isascii():
        return value
    if len(value) > MAX_WIDE:
        raise MalformedJson(LONG_TEXT)
    try:
        if coding == "latin-1":
            return value.encode("latin-1").decode("utf-8")
        value.encode("utf-8")
    except UnicodeDecodeError as exc:
        raise MalformedJson("not UTF-8") from exc
    except UnicodeEncodeError as exc:
        raise MalformedJson("lone surrogate") from exc
    return value


def dump(value: Json) -> bytes:
    """Returns the compact UTF-8 text of *value*.

    Numbers of any size are equal when `parse` reads them again.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _check_size(raw: bytes, max_depth: int, max_nodes: int) -> None:
    # A value takes a byte or more, so that a short text needs no count of its values.
    if len(raw) <= min(max_nodes, MAX_WIDE) and raw.count(b"[") + raw.count(b"{") <= max_depth:
        return
    # A value is the first of the text, or of a `[` or `{`, or follows a `,`. Strings can only add to the count.
    opens = _count(raw, b"[") + _count(raw, b"{")
    if opens <= max_depth and opens + _count(raw, b",") < max_nodes:
        return
    bare = _without_strings(raw, 4 * max_nodes)
    opens = _count(bare, b"[") + _count(bare, b"{")
    empty = _count(bare, b"[]") + _count(bare, b"{}")
    places = opens - empty + _count(bare, b",")  # for values after the first
    if places >= max_nodes:
        raise MalformedJson(TOO_MANY)
    if empty > places + 1:
        raise MalformedJson("not JSON")
    brackets = bare.translate(None, _NO_BRACKETS)
    if len(brackets) > 2 * opens:
        raise MalformedJson("not JSON")
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > max_depth:
        raise MalformedJson("nested too deeply")


def _count(raw: bytes, part: bytes) -> int:
    """Counts in steps: one call would hold the interpreter lock for up to 40 ms at 10 MB."""
    if len(raw) <= MAX_WIDE:
        return raw.count(part)
    more = MAX_WIDE + len(part) - 1
    return sum([raw.count(part, start, start + more) for start in range(0, len(raw), MAX_WIDE)])


def _without_strings(raw: bytes, max_quotes: int) -> bytes:
    """Returns *raw* with a quote for each string, and without white space.

    A backslash occurs in strings only, so that escapes can be removed first.
    """
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if _count(raw, b'"') > max_quotes:
        raise MalformedJson(TOO_MANY)
    return b'"'.join(raw.split(b'"')[::2]).translate(None, b" \t\n\r")


def _refuse_lone_surrogates(value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as exc:
        raise MalformedJson("lone surrogate") from exc


def _object(members: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(members)
    if len(value) != len(members):
        raise MalformedJson("duplicate member name")
    return value


def _int(text: str) -> int:
    if len(text) > _MAX_NUMBER:
        raise MalformedJson("number out of range")
    return int(text)


def _float(text: str) -> float:
    value = float(text) if len(text) <= _MAX_NUMBER else math.inf
    if not math.isfinite(value):
        raise MalformedJson("number out of range")
    return value


def _constant(name: str) -> NoReturn:
    raise MalformedJson("not JSON")


_WHITE_SPACE = " \t\n\r"
_Scan: TypeAlias = Callable[[str, int], tuple[Json, int]]
# No number of a short text is too long, so that its integers need no call.
_SHORT_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant, strict=True)
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant, strict=True
)
# The decoder's own scanner, in C: `decode` around it costs two calls and two matches more.
_SCAN: _Scan = make_scanner(_DECODER)  # type: ignore[arg-type] # its stub is wrong
_SCAN_SHORT: _Scan = make_scanner(_SHORT_DECODER)  # type: ignore[arg-type]
