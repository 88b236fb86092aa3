"""Run of one target by atheris, libFuzzer for Python: `coverage_run NAME ARGUMENTS…` in a process.

The package is imported with instrumentation, so that libFuzzer keeps each input that reaches new code.
"""

from __future__ import annotations

import sys
from importlib import import_module

import atheris


def main(name: str, *arguments: str) -> None:
    """Runs the target *name* with the arguments of libFuzzer, and exits as that does."""
    with atheris.instrument_imports(include=["proxy"]):
        target = import_module("fuzz.table").TARGETS[name]
    atheris.Setup([sys.argv[0], *arguments], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
