"""Checker of names and prose in docstrings, comments, messages, docs and identifiers (`make lint`).

Prints `file:line: problem` for each problem and ends with status 1. The rules are in CONTRIBUTING.md. Python files are
read as syntax trees and tokens, Markdown files line by line. Fenced code, tables and quoted text are no prose.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PYTHON = ("proxy", "tests", "bench", "docs", "tools", "examples")
MARKDOWN = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/**/*.md",
    "deploy/**/*.md",
    "examples/**/*.md",
)
EXAMPLES = "tests/unit/test_style.py"  # has examples of bad style

MAX_FIRST_LINE = 100  # characters
MAX_WORDS = 25  # of a sentence in a docstring or comment
MAX_DOCS_WORDS = 30  # of a sentence in a page for readers

# A first line that makes sense alone opens with none of these.
_BAD_OPENING = re.compile(
    r"(\*\w|`|(What|Whether|How|Who|Whom|Whose|Which|Where|Whatever|Whoever|Those|Nobody|Somebody"
    r"|It|Its|They|Their|And|Also|Or|Nor|But|Then|So)\b)"
)
_BANNED_WORDS = re.compile(
    r"\b(whoever|whomever|nobody|somebody|anew|whereto|(?:is|was|are|were|be|been) (?:told|asked)|believed?|believes"
    r"|the gate|the edge|vouch(?:es)?)\b",
    re.IGNORECASE,
)
# Events instead of values.
_EVENTS = "said told chosen named held kept taken wanted sifted tell"
# Metaphors, and words of earlier states of the code.
_METAPHORS = (
    "door outlet patience sieve sift doubts openings canaries spending ticket tickets seats twin vet judge gate "
    "standing standings Door Outlet Patience Sieve Doubts Openings Presence Arrival Inbound Front Judge Spending "
    "Ticket Seat Replays Keeping Verdict Standing Streamed Watch Issuing Parts Workbench Tally Journal Gate"
)
_BANNED_NAMES = frozenset([*_EVENTS.split(), *_METAPHORS.split()])
_NAMES_OF = re.compile(r"_of$")
# The words of the standard library and of protocols that end so.
_ALLOWED_OF = frozenset({"as_of", "instance_of", "index_of", "one_of", "any_of", "all_of", "type_of"})

_PATTERN = re.compile(r"\\b|\(\?")  # the text of a regular expression is no prose
_CODE = re.compile(r"``.*?``|`[^`]*`|https?://\S+|\"[^\"]*\"")
_ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|no|approx|p)\.", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=\S)|\n\s*\n|\n\s*[-*+] |\n\s*\d+\. |:\n")
_WORD = re.compile(r"[^\W_][\w'./-]*")


class Finding(NamedTuple):
    """One problem of style at a line of a file."""

    line: int
    problem: str


FOREIGN = frozenset({"node_modules", ".venv", ".last-release"})  # folders with the code of others, or of the past


def check_prose(text: str, line: int, max_words: int) -> Iterator[Finding]:
    """Yields the banned words and long sentences of *text*, which starts at *line* of its file."""
    plain = _CODE.sub(lambda code: "code" + "\n" * code[0].count("\n"), text)
    for match in _BANNED_WORDS.finditer(plain):
        yield Finding(line + plain.count("\n", 0, match.start()), f'banned word "{match[0]}"')
    start = 0
    for end in [*(m.end() for m in _SENTENCE_END.finditer(_ABBREVIATIONS.sub(_without_dot, plain))), len(plain)]:
        sentence = plain[start:end]
        words = len(_WORD.findall(sentence))
        if words > max_words:
            first = line + plain.count("\n", 0, start + len(sentence) - len(sentence.lstrip()))
            yield Finding(first, f"sentence of {words} words, more than {max_words}")
        start = end


def check_docstring(docstring: str, line: int) -> Iterator[Finding]:
    """Yields the problems of a docstring whose text starts at *line*."""
    first = docstring.strip().partition("\n")[0]
    if len(first) > MAX_FIRST_LINE:
        yield Finding(line, f"first line of {len(first)} characters, more than {MAX_FIRST_LINE}")
    if opening := _BAD_OPENING.match(first):
        yield Finding(line, f'first line opens with "{opening[0]}"')
    # A block that is indented more than its docstring is a drawing or an example.
    prose = re.sub(r"(?m)^ {4,}.*$", "", inspect.cleandoc(docstring))
    yield from check_prose(prose, line, MAX_WORDS)


def check_python(source: str) -> Iterator[Finding]:
    """Yields the problems of a Python module: docstrings, comments, messages and names."""
    tree = ast.parse(source)
    docstrings = {id(node): node for node in _docstring_nodes(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in docstrings:
                yield from check_docstring(node.value, node.lineno)
            elif " " in node.value and not _PATTERN.search(node.value):
                yield from check_prose(node.value, node.lineno, sys.maxsize)
        yield from (Finding(line, f'banned name "{name}"') for name, line in _names(node) if is_banned(name))
    yield from _check_comments(source)


def check_markdown(text: str) -> Iterator[Finding]:
    """Yields the problems of a page: banned words and long sentences outside of code and tables."""
    fenced = False
    lines = []
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        no_prose = fence or fenced or line.lstrip().startswith(("|", "#", "<!--", "    "))
        lines.append("" if no_prose else line)
    yield from check_prose(re.sub(r"\]\([^)]*\)", "]", "\n".join(lines)), 1, MAX_DOCS_WORDS)


def is_banned(name: str) -> bool:
    """Returns True for an identifier that tells an event or a metaphor instead of a value."""
    plain = name.strip("_")
    return plain in _BANNED_NAMES or (_NAMES_OF.search(plain) is not None and plain not in _ALLOWED_OF)


def _without_dot(match: re.Match[str]) -> str:
    return match[0].replace(".", "_")


def _docstring_nodes(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value


def _names(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yields the names that *node* introduces: classes, functions, parameters, variables and attributes."""
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name, node.lineno
        case ast.arg():
            yield node.arg, node.lineno
        case ast.Name(ctx=ast.Store()):
            yield node.id, node.lineno
        case ast.Attribute(ctx=ast.Store()):
            yield node.attr, node.lineno
        case ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name):
            yield name, node.lineno
        case ast.ExceptHandler(name=str() as name):
            yield name, node.lineno


def _check_comments(source: str) -> Iterator[Finding]:
    """Yields the problems of comments; neighbouring lines of comments are one text."""
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and (token.start[0] != last + 1 or token.line[: token.start[1]].strip()):
            yield from check_prose("\n".join(block), last - len(block) + 1, MAX_WORDS)
            block = []
        block.append(re.sub(r"^#\s?(noqa:|type:|pragma:)?\s?", "", token.string))
        last = token.start[0]
    yield from check_prose("\n".join(block), last - len(block) + 1, MAX_WORDS)


def files() -> Iterator[Path]:
    """Yields the files to check."""
    for folder in PYTHON:
        paths = (path for path in (ROOT / folder).rglob("*.py") if FOREIGN.isdisjoint(path.parts))
        yield from sorted(path for path in paths if path != ROOT / EXAMPLES)
    for pattern in MARKDOWN:
        yield from sorted(path for path in ROOT.glob(pattern) if FOREIGN.isdisjoint(path.parts))


def main(arguments: Iterable[str]) -> int:
    """Prints the problems of all files, or of those below *arguments*. Returns the exit status."""
    prefixes = tuple(arguments)
    problems = 0
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if prefixes and not name.startswith(prefixes):
            continue
        text = path.read_text(encoding="utf-8")
        findings = list(check_markdown(text) if path.suffix == ".md" else check_python(text))
        if is_banned(path.stem):
            findings.append(Finding(1, f'banned name "{path.stem}"'))
        for finding in sorted(findings):
            problems += 1
            print(f"{name}:{finding.line}: {finding.problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
