"""Writer of lock/LICENCES.md: the licence of each package that the gateway installs.

`make lock` runs it. The licences are those of the packages' own metadata, in this environment.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "lock/production.txt"
LIST = ROOT / "lock/LICENCES.md"
HEAD = """# Licences of the packages in `lock/production.txt`

<!-- Written by tools/licences.py (`make lock`). -->

| package | licence |
|---|---|
"""
# Packages of other platforms or Pythons: not installed here, so their licence is noted by hand.
ELSEWHERE = {"async-timeout": "Apache-2.0", "httpx2-jsfetch": "BSD-3-Clause"}
_NAME = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==", re.MULTILINE)


def licence(name: str) -> str:
    """Returns the licence that a package states: its SPDX expression, its field, or its classifiers."""
    try:
        stated = metadata(name)
    except PackageNotFoundError:
        return ELSEWHERE[name]
    field = next((stated[key] for key in ("License-Expression", "License") if key in stated), "")
    classifiers = [
        line.rpartition(" :: ")[2] for line in (stated.get_all("Classifier") or []) if line.startswith("License")
    ]
    # Some put the whole text into the field.
    return field if field and len(field) < 60 and "\n" not in field else ", ".join(classifiers) or "not stated"


def table() -> str:
    """Returns the list as Markdown."""
    names = sorted(set(_NAME.findall(LOCK.read_text(encoding="utf-8"))))
    return HEAD + "".join(f"| {name} | {licence(name)} |\n" for name in names)


if __name__ == "__main__":
    LIST.write_text(table(), encoding="utf-8")
