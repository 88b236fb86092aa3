"""Strict JSON: a text with one meaning only, so that the checked value is the value that is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from json.scanner import make_scanner
from typing import NoReturn, TypeAlias

import orjson

from proxy.errors import MalformedJson

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

TOO_MANY = "too many values"
OUT_OF_RANGE = "number out of range"

# Bytes of a text from which another parser is used: CPython's widens a whole text for one character beyond ASCII.
# It holds the interpreter lock meanwhile: 0.1 s for 10 MB with one emoji.
MAX_PLAIN = 1024 * 1024

# Shorter than the 309 digits of the largest double, so that a validator can read every integer as a finite float.
_MAX_NUMBER = 300

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONG_NUMBER = re.compile(rb"[-+.0-9eE]{19,%d}" % (_MAX_NUMBER + 1))
_INTEGER = re.compile(rb"-?[0-9]+")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _STEP)


def parse(raw: bytes, *, max_depth: int = 64, max_nodes: int = 100_000) -> Json:
    """Parses one RFC 8259 text in UTF-8 with unique member names (RFC 7493 section 2.3).

    Integers are exact at any size. A number has at most 300 characters. *max_nodes* limits the values in the text, and
    *max_depth* their nesting; both are checked before any value is built. Raises MalformedJson and nothing else.
    The message is TOO_MANY where there are more than *max_nodes* values.
    """
    if len(raw) > MAX_PLAIN:
        bare = _without_strings(raw, 4 * max_nodes)
        _check_bare(bare, max_depth, max_nodes)
        return _parse_large(raw, bare)
    _check_size(raw, max_depth, max_nodes)
    return _scanned(raw)


def _scanned(raw: bytes) -> Json:
    """Parses a text whose size was checked."""
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


def _parse_large(raw: bytes, bare: bytes) -> Json:
    """Parses as `parse`, where each string is made wide by itself. *bare* is *raw* without its strings.

    orjson takes the last of two members with one name, and rounds integers beyond 64 bits.
    """
    if _has_large_integer(bare):
        return _scanned(raw)
    try:
        value: Json = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise MalformedJson(_fault(str(exc))) from exc
    if bare.count(b":") != _member_count(value):
        raise MalformedJson("duplicate member name")
    return value


def _fault(message: str) -> str:
    """Returns the reason for a message of orjson's."""
    if "not valid UTF-8" in message:
        return "not UTF-8"
    return "lone surrogate" if "surrogate" in message else "not JSON"


def _has_large_integer(bare: bytes) -> bool:
    """Returns whether a number is an integer beyond 64 bits. Raises MalformedJson where one is too long."""
    found = False
    for match in _LONG_NUMBER.finditer(bare):
        number = match[0]
        if len(number) > _MAX_NUMBER:
            raise MalformedJson(OUT_OF_RANGE)
        found = found or (_INTEGER.fullmatch(number) is not None and not -(2**63) <= int(number) < 2**64)
    return found


def _member_count(value: Json) -> int:
    count, waiting = 0, [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            count += len(node)
            waiting.extend(node.values())
    return count


def dump(value: Json) -> bytes:
    """Returns the compact UTF-8 text of *value*.

    Numbers of any size are equal when `parse` reads them again.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _check_size(raw: bytes, max_depth: int, max_nodes: int) -> None:
    # A value is the first of the text, or of a `[` or `{`, or follows a `,`. Strings can only add to the count.
    # Each takes a byte or more, so that a short text needs no count of them.
    opens = raw.count(b"[") + raw.count(b"{")
    if opens > max_depth or (len(raw) >= max_nodes and opens + raw.count(b",") >= max_nodes):
        _check_bare(_without_strings(raw, 4 * max_nodes), max_depth, max_nodes)


def _check_bare(bare: bytes, max_depth: int, max_nodes: int) -> None:
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
    if len(raw) <= MAX_PLAIN:
        return raw.count(part)
    more = MAX_PLAIN + len(part) - 1
    return sum([raw.count(part, start, start + more) for start in range(0, len(raw), MAX_PLAIN)])


def _without_strings(raw: bytes, max_quotes: int) -> bytes:
    """Returns *raw* with a quote for each string, and without white space.

    A backslash occurs in strings only, so that escapes can be removed first.
    """
    if b"\\" in raw:
        raw = b"".join([part.replace(b"\\\\", b"").replace(b'\\"', b"") for part in _parts(raw)])
    if _count(raw, b'"') > max_quotes:
        raise MalformedJson(TOO_MANY)
    return b'"'.join(raw.split(b'"')[::2]).translate(None, b" \t\n\r")


def _parts(raw: bytes) -> Iterator[bytes]:
    """Yields *raw* in parts, none of which ends inside an escape. See `_count`."""
    start = 0
    while start < len(raw):
        part = raw[start : start + MAX_PLAIN]
        if (len(part) - len(part.rstrip(b"\\"))) % 2:
            part = raw[start : start + MAX_PLAIN + 1]
        yield part
        start += len(part)


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
        raise MalformedJson(OUT_OF_RANGE)
    return int(text)


def _float(text: str) -> float:
    value = float(text) if len(text) <= _MAX_NUMBER else math.inf
    if not math.isfinite(value):
        raise MalformedJson(OUT_OF_RANGE)
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
