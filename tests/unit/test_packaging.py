"""Tests of the package's metadata and of what its installation brings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MOST_DISTRIBUTIONS = 30
MOST_BYTES = 90e6


def installed_with(name: str, extras: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yields the names of *name* and of all that it requires here, some more than once."""
    yield canonicalize_name(name)
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras | {""}):
            yield from installed_with(requirement.name, frozenset(requirement.extras))


def size(name: str) -> int:
    paths = (Path(str(file.locate())) for file in distribution(name).files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


def test_the_base_install_is_light() -> None:
    """Without extras at most 30 distributions of 90 MB are installed."""
    names = set(installed_with("fal-auth-proxy"))

    assert "starlette" in names
    assert len(names) <= MOST_DISTRIBUTIONS, sorted(names)
    assert sum(map(size, names)) < MOST_BYTES


def cpu(*arguments: str) -> float:
    """Returns the CPU seconds of a Python process, the median of five."""
    samples = []
    for _ in range(5):
        before = getrusage(RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = getrusage(RUSAGE_CHILDREN)
        samples.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return median(samples)


def test_help_is_cheap() -> None:
    """The list of commands costs at most three times the CPU of `import click`."""
    assert cpu("-m", "proxy", "--help") < 3 * cpu("-c", "import click")


@pytest.mark.parametrize("header", ["Author", "Project-URL", "License-Expression", "License-File", "Requires-Python"])
def test_the_metadata_is_complete(header: str) -> None:
    """The fields that a package index shows are there."""
    assert distribution("fal-auth-proxy").metadata.get_all(header)


def test_links_of_the_description_are_absolute() -> None:
    """A package index has no other page of the repository."""
    text = str(distribution("fal-auth-proxy").metadata.json["description"])
    relative = [part.split(")")[0] for part in text.split("](")[1:] if not part.startswith(("https://", "#"))]

    assert relative == []
    assert "](https://" in text
