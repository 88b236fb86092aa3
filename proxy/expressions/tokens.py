"""Tokens of a CEL expression, and the rewriting that lets integers and decimals mix.

CEL has no arithmetic between integers and decimals, and JSON has one kind of number. So every integer literal becomes a
decimal. A function of CEL with an integer result becomes one of ours with a decimal result.
Source: https://github.com/cel-expr/cel-spec/blob/master/doc/langdef.md (section Syntax).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>[\s]+|//[^\n]*)
    |(?P<string>[rRbB]{0,2}(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
    |(?P<decimal>[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)
    |(?P<integer>0[xX][0-9A-Fa-f]+|[0-9]+)[uU]?
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)

# CEL's own functions with an integer result -> ours with a decimal result.
_RENAMED = {"size": "length", "int": "trunc", "uint": "trunc"}
MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an expression: its kind, its text and the position of its first character."""

    kind: str
    text: str
    start: int


def _scan(expression: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(expression):
        yield Token(str(match.lastgroup), match[0], match.start())


class Rewritten:
    """An expression in the form CEL compiles, with the original position of each of its characters."""

    def __init__(self, expression: str) -> None:
        self.tokens = [token for token in _scan(expression) if token.kind != "space"]
        self._starts: list[tuple[int, int]] = []
        self.text = ""
        end = 0
        for index, token in enumerate(self.tokens):
            self.text += " " if token.start > end else ""
            self._starts.append((len(self.text), token.start))
            self.text += self._rewrite(index, token)
            end = token.start + len(token.text)

    def position(self, column: int) -> int:
        """Returns the position in the original expression of *column* (from 0) of the rewritten one."""
        index = bisect_right(self._starts, (column, 1 << 30)) - 1
        return self._starts[max(index, 0)][1] if self._starts else 0

    def calls(self) -> Iterator[str]:
        """Yields the name of each function and macro that the expression calls."""
        for index, token in enumerate(self.tokens):
            if token.kind == "name" and self._is_call(index):
                yield token.text

    def members(self, variable: str) -> frozenset[str] | None:
        """Returns the members of *variable* that are used by name, None where the whole of it is used."""
        names: set[str] = set()
        for index, token in enumerate(self.tokens):
            if token.text != variable or token.kind != "name" or self._text(index - 1) == ".":
                continue
            if self._text(index + 1) != "." or index + 2 >= len(self.tokens):
                return None
            names.add(self.tokens[index + 2].text)
        return frozenset(names)

    def _text(self, index: int) -> str:
        return self.tokens[index].text if 0 <= index < len(self.tokens) else ""

    def _rewrite(self, index: int, token: Token) -> str:
        if token.kind == "integer":
            return f"{float(int(token.text.rstrip('uU'), 0 if token.text[:2] in ('0x', '0X') else 10))!r}"
        if token.kind == "name" and self._is_call(index):
            return _RENAMED.get(token.text, token.text)
        return token.text

    def _is_call(self, index: int) -> bool:
        return self._text(index + 1) == "("
