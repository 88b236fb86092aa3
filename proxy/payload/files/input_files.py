"""Input files of a payload: every string that could be read as a URL is checked, in any field. Pure.

A string is checked where its field is for files (`file_fields`). In other fields it is checked where it begins like a
URL, after blanks and control characters: `scheme://`, `//`, `\\\\`, `file:`, `data:`, `blob:`.
In fields for prose, and nowhere else, a text with white space inside is exempt: no fetcher reads such a URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from proxy.errors import FieldError
from proxy.payload.files.file_fields import FileFields, textless_fields
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.files.media_types import media_type
from proxy.payload.validation.error_messages import field_error
from proxy.payload.validation.validator import MAX_VIOLATIONS
from proxy.strict_json import Json

MAX_BYTES = 10 * 1024 * 1024
TEXT_FIELDS = frozenset({"prompt", "text", "input", "lyrics"})

# White space, control and invisible characters: readers of URLs cut them off at both ends (WHATWG URL, section 4.4).
_BLANK = r"[\s\x00-\x20\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]"
_SCHEME_LENGTH = 80  # characters of a scheme, and those at the beginning in which a dropped one could hide it
_URL_LIKE = re.compile(
    rf"{_BLANK}*+(?:(?:[a-z][a-z0-9+.-]{{0,{_SCHEME_LENGTH}}}+:)?[/\\]{{2}}|(?:file|data|blob):|(?:https?|wss?|ftp):[/\\])",
    re.IGNORECASE,
)
_ANY_BLANK = re.compile(_BLANK)
_WORD, _WORD_END = re.compile(r"\S"), re.compile(r"[^\S\t\r\n]")
_REMOVED = b"\t\r\n"  # WHATWG URL: dropped wherever they stand

# RFC 2397. The media type is compared without its parameters (`audio/webm;codecs=opus`).
_DATA = re.compile(
    r"data:(?P<type>[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64})(?:;[ ]?[a-z0-9-]{1,32}=[^;,\s]{1,100}){0,4};base64,",
    re.IGNORECASE | re.ASCII,
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_BASE64_INNER = re.compile(r"[A-Za-z0-9+/]+")
_PART = 256 * 1024  # characters
_NO_FIELDS: frozenset[str | int] = frozenset()
_ANYWHERE = HostAllowlist(any_public=True)


@dataclass(frozen=True, slots=True)
class FileRules:
    """The operator's rules for input files.

    *media_types* of data URIs, in lower case; None takes what each field is for. *max_bytes*: decoded size of a data
    URI. *fields*: further fields that name files. *text_fields*: further fields for prose.
    """

    hosts: HostAllowlist = _ANYWHERE
    media_types: frozenset[str] | None = None
    max_bytes: int = MAX_BYTES
    fields: frozenset[str] = frozenset()
    text_fields: frozenset[str] = frozenset()


class Inputs:
    """Check of the files in the payloads of one endpoint. *schema*: its input schema without references."""

    def __init__(self, rules: FileRules, schema: Json) -> None:
        self._rules = rules
        self._fields = FileFields(schema, rules.fields)
        self._text_fields = TEXT_FIELDS | rules.text_fields
        # The validator rejects every text there but the schema's own words, so these need no look.
        self._textless = frozenset(name for name in textless_fields(schema) if not self._fields.kind(name).is_file)

    def violations(self, payload: dict[str, Json]) -> list[FieldError]:
        """Returns at most 50 errors, each with its field. None repeats what the caller wrote."""
        errors: list[FieldError] = []
        waiting: list[_Node] = [_Node((), "", payload)]
        while waiting and len(errors) < MAX_VIOLATIONS:
            node = waiting.pop()
            skipped = _NO_FIELDS if node.path else self._textless
            for step, item in node.items():
                if step in skipped:
                    continue
                if isinstance(item, str):
                    name = step if isinstance(step, str) else node.name
                    problem = self._problem(name, item, in_messages=node.in_messages)
                    if problem is not None and len(errors) < MAX_VIOLATIONS:
                        errors.append(field_error([*node.path, step], *problem))
                elif isinstance(item, list | dict) and item:
                    waiting.append(node.child(step, item))
        return errors

    def _problem(self, name: str, value: str, *, in_messages: bool) -> tuple[str, str] | None:
        """Returns the error type and message for the string *value* of the field *name*, None for a good one."""
        is_file, is_path, words = self._fields.kind(name)
        if not is_file and not (is_path and _could_be_url(value)):
            if not _is_url_like(value) or (self._is_prose(name, in_messages) and _has_inner_blank(value)):
                return None
        # Models have an empty string for a default; it names nothing.
        elif not value or value in words:
            return None
        problem = self._file_problem(name, value)
        if problem is None or is_file:
            return problem
        return problem[0], f"This text begins like a URL and is checked as a file. {problem[1]}"

    def _is_prose(self, name: str, in_messages: bool) -> bool:
        return name in self._text_fields or (in_messages and name == "content")

    def _file_problem(self, name: str, value: str) -> tuple[str, str] | None:
        if value[:5].lower() == "data:":
            return self._data_problem(name, value)
        problem = self._rules.hosts.problem(value)
        return None if problem is None else ("url_not_accepted", f"{problem} (rule files.hosts)")

    def _data_problem(self, name: str, uri: str) -> tuple[str, str] | None:
        match = _DATA.match(uri)
        given = None if match is None else media_type(match["type"])
        if match is None or given is None:
            return "data_uri_invalid", "A data URI should be data:<media type>;base64,<data>"
        accepted = self._rules.media_types
        if accepted is None:
            accepted = self._fields.media_types(name)
        if given not in accepted:
            listed = ", ".join(sorted(accepted)) or "none"
            return "media_type_not_accepted", f"Input should be a file of type {listed} (rule files.media_types)"
        length = len(uri) - match.end()
        padding = uri[-2:].count("=")
        if length // 4 * 3 - padding > self._rules.max_bytes:
            limit = self._rules.max_bytes
            return "file_too_large", f"The file in a data URI should have at most {limit} bytes (rule files.max_bytes)"
        # The alphabet and the length are all there is to valid base64 (RFC 4648), so nothing need be decoded.
        if length % 4 or not _is_base64(uri, match.end()):
            return "data_uri_invalid", "The data of a data URI should be padded base64 in the standard alphabet"
        return None


@dataclass(slots=True)
class _Node:
    """A list or object of the payload. *name* is the field it belongs to."""

    path: Final[tuple[str | int, ...]]
    name: Final[str]
    value: Final[Json]
    in_messages: Final[bool] = False

    def items(self) -> Iterable[tuple[str | int, Json]]:
        if isinstance(self.value, dict):
            return self.value.items()
        return enumerate(self.value) if isinstance(self.value, list) else ()

    def child(self, step: str | int, value: Json) -> _Node:
        name = step if isinstance(step, str) else self.name
        # `messages[].content` is prose; the messages are items of a list of that name.
        in_messages = isinstance(step, int) and self.name == "messages"
        return _Node((*self.path, step), name, value, in_messages or (self.in_messages and name == "content"))


def _is_base64(text: str, start: int) -> bool:
    """Checks *text* from *start* in parts: one match of 10 MB would stop all other requests for 40 ms."""
    last = max(start, len(text) - _PART)
    parts = range(start, last, _PART)
    if any(_BASE64_INNER.fullmatch(text, at, min(at + _PART, last)) is None for at in parts):
        return False
    return _BASE64.fullmatch(text, last) is not None


def _is_url_like(value: str) -> bool:
    if _URL_LIKE.match(value) is not None:
        return True
    head = value[:_SCHEME_LENGTH]
    if "\n" not in head and "\t" not in head and "\r" not in head:
        return False
    joined = _joined(value).strip()
    return _URL_LIKE.match(joined) is not None and _find(_ANY_BLANK, joined, 0) < 0


def _has_inner_blank(value: str) -> bool:
    # Tabs and line ends do not count: a reader of URLs drops them, so the rest could still be fetched.
    match = _URL_LIKE.match(value)
    word = _find(_WORD, value, 0 if match is None else match.end())
    blank = -1 if word < 0 else _find(_WORD_END, value, word)
    return blank >= 0 and _find(_WORD, value, blank) >= 0


def _find(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Returns where the first character that fits *pattern* is, -1 for none.

    It looks at parts, as `_is_base64`.
    """
    for at in range(start, len(text), _PART):
        if (match := pattern.search(text, at, at + _PART)) is not None:
            return match.start()
    return -1


def _joined(text: str) -> str:
    """Returns *text* without tabs and line ends. `str.translate` takes 50 times as long beyond ASCII."""
    parts = range(0, len(text), _PART)
    return "".join([text[at : at + _PART].encode().translate(None, _REMOVED).decode() for at in parts])


def _could_be_url(value: str) -> bool:
    return ":" in value or "//" in value or "\\" in value
