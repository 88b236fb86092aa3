"""Values from the environment: `${NAME}` and `${NAME:-default}` in strings of the file, and `PORT`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from proxy.config.value_types import EnvironmentText
from proxy.errors import Problem

# `$${` is a literal `${`, as in Compose files, where this notation is from.
_REFERENCE = re.compile(r"\$(?P<escape>\$)?\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?")


class _Unresolved(ValueError):
    """A reference in a string that has no value."""


def interpolate(value: object, environ: Mapping[str, str], location: str, problems: list[Problem]) -> object:
    """Returns *value* with all references in its strings replaced.

    A string whose reference has no value is left out of its table or list, with a problem at its place.
    """
    if isinstance(value, dict):
        return dict(_resolved(((key, f"{location}.{key}", item) for key, item in value.items()), environ, problems))
    if isinstance(value, list):
        items = ((i, f"{location}[{i}]", item) for i, item in enumerate(value))
        return [item for _, item in _resolved(items, environ, problems)]
    return _replace(value, environ) if isinstance(value, str) else value


def _resolved(
    items: Iterator[tuple[object, str, object]], environ: Mapping[str, str], problems: list[Problem]
) -> Iterator[tuple[object, object]]:
    for key, location, item in items:
        try:
            yield key, interpolate(item, environ, location, problems)
        except _Unresolved as error:
            problems.append(Problem(location, str(error)))


def _replace(text: str, environ: Mapping[str, str]) -> str:
    def value(reference: re.Match[str]) -> str:
        name, default = reference["name"], reference["default"]
        if reference["escape"]:
            return reference[0].removeprefix("$")
        if name is None:
            raise _Unresolved("${ is not followed by NAME} or NAME:-default}; write $${ for the two characters")
        # As in a shell, an empty variable takes the default too.
        resolved = environ.get(name) or default
        if resolved is None:
            raise _Unresolved(f"the environment has no {name}")
        return resolved

    replaced = _REFERENCE.sub(value, text)
    return text if replaced == text else EnvironmentText(replaced)
