"""Differences between answers of fal and those of the sandbox, in form and not in content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from proxy.demo.contract_calls import Answer
from proxy.errors import Problem
from proxy.strict_json import Json

# Fields whose value is compared, and not its type alone.
_WORDS = frozenset({"status", "error_type"})
# Addresses of the job, whose paths are compared.
_ADDRESSES = frozenset({"status_url", "response_url", "cancel_url"})
_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def differences(fal: Sequence[Answer], sandbox: Sequence[Answer]) -> list[Problem]:
    """Returns each difference, with the step as its key. A step that only one of them reached is one."""
    answers = {answer.step: answer for answer in fal}
    problems: list[Problem] = []
    for expected in sandbox:
        actual = answers.get(expected.step)
        if actual is None:
            problems.append(Problem(f"fal: {expected.step}", "was not reached"))
        elif actual.step != "status, unfinished" or not _has_ended(actual):  # a fast job has another answer
            problems += [Problem(f"fal: {actual.step}", text) for text in _compare(actual, expected)]
    return problems


def _has_ended(answer: Answer) -> bool:
    return isinstance(answer.body, dict) and answer.body.get("status") == "COMPLETED"


def _compare(fal: Answer, sandbox: Answer) -> Iterator[str]:
    if fal.status != sandbox.status:
        yield f"answers {fal.status}, the sandbox {sandbox.status}"
    if fal.media_type != sandbox.media_type:
        yield f"sends {fal.media_type or 'no media type'}, the sandbox {sandbox.media_type or 'none'}"
    yield from (f"sends no {name}" for name in sorted(sandbox.headers - fal.headers))
    yield from (f"sends {name}, the sandbox does not" for name in sorted(fal.headers - sandbox.headers))
    yield from _shapes("", fal.body, sandbox.body)


def _shapes(path: str, fal: Json, sandbox: Json) -> Iterator[str]:
    """Compares two values. Null stands for a value that may come, so it fits any."""
    if fal is None or sandbox is None:
        return
    if _KINDS[type(fal)] != _KINDS[type(sandbox)]:
        yield f"{path or 'the body'} is {_KINDS[type(fal)]}, in the sandbox {_KINDS[type(sandbox)]}"
    elif isinstance(fal, dict) and isinstance(sandbox, dict):
        yield from (f"has no {_joined(path, name)}" for name in sorted(sandbox.keys() - fal.keys()))
        yield from (f"has {_joined(path, name)}, the sandbox does not" for name in sorted(fal.keys() - sandbox.keys()))
        for name in sorted(fal.keys() & sandbox.keys()):
            yield from _shapes(_joined(path, name), fal[name], sandbox[name])
    elif isinstance(fal, list) and isinstance(sandbox, list):
        if fal and sandbox:
            yield from _shapes(f"{path}[0]", fal[0], sandbox[0])
    elif isinstance(fal, str) and isinstance(sandbox, str):
        yield from _texts(path, fal, sandbox)


def _texts(path: str, fal: str, sandbox: str) -> Iterator[str]:
    if path in _WORDS and fal != sandbox:
        yield f"{path} is {fal!r}, in the sandbox {sandbox!r}"
    if path in _ADDRESSES and _form(fal) != _form(sandbox):
        yield f"{path} has the form {_form(fal)}, in the sandbox {_form(sandbox)}"


def _form(url: str) -> str:
    """Returns the path of an address of a job, with a word in place of the id."""
    before, found, after = urlsplit(url).path.partition("/requests/")
    if not found:
        return before
    _, slash, rest = after.partition("/")
    return f"{before}/requests/<id>{slash}{rest}"


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
