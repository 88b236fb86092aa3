"""Command of `make fuzz`: runs each target for a time, and saves inputs that fail.

    python -m fuzz [--seconds N] [--corpus DIR] [NAME…]

An input that fails is printed and saved in tests/fuzz/cases/, where the tests run it from then on.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from random import Random
from time import monotonic, process_time

from fuzz.mutation import mutants
from fuzz.table import TARGETS
from fuzz.target import CASES, Target

MOST_MEMORY = 2048  # MiB
MOST_SECONDS = 20  # for one input, in which native code may hang
_SHOWN = re.compile(rb"^(?:stat::number_of_executed_units|stat::new_units_added|#\d+\s+DONE).*$", re.MULTILINE)


def fuzz_by_coverage(target: Target, seconds: int, corpus: Path, cases: Path = CASES) -> bool:
    """Runs *target* by atheris in a process of its own. Returns False where an input failed."""
    inputs, words = corpus / target.name, corpus / f"{target.name}.words"
    inputs.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (inputs / sha256(seed).hexdigest()).write_bytes(seed)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words), encoding="ascii")
    found = cases / target.name
    found.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    settings = {
        "max_total_time": seconds,
        "max_len": target.max_length,
        "timeout": MOST_SECONDS,
        "rss_limit_mb": MOST_MEMORY,
        "dict": words,
        "artifact_prefix": f"{found}/",
        "print_final_stats": 1,
    }
    options = [f"-{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "fuzz.coverage_run", target.name, *options, str(inputs)]
    run = subprocess.run(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, check=False)
    for line in _SHOWN.findall(run.stdout):
        print(f"{target.name}: {line.decode()}")
    if run.returncode:
        print(run.stdout[run.stdout.rfind(b"\n === ") :][:6000].decode(errors="replace"))
    for path in sorted(set(found.iterdir()) - before):
        _report(path)
    return run.returncode == 0


def fuzz_by_mutation(target: Target, seconds: float, cases: Path = CASES) -> bool:
    """Runs *target* for random changes of its seeds. Returns False where an input failed."""
    seeds = [*target.seeds(), *target.cases()]
    end, runs = process_time() + seconds, 0
    for data in mutants(seeds, target.words, target.max_length, Random(monotonic())):
        is_good = False
        try:
            target.run(data)
            is_good = True
        finally:
            if not is_good:
                _report(target.save(data, cases))
        runs += 1
        if process_time() > end:
            break
    print(f"{target.name}: {runs} inputs")
    return True


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _report(path: Path) -> None:
    print(f"failing input, saved as {path}:\n{path.read_bytes()!r}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the status of the process."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Runs fuzz targets.")
    parser.add_argument("names", nargs="*", choices=[*TARGETS, []], help="targets; all where none is given")
    parser.add_argument("--seconds", type=int, default=300, help="time of each target")
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz"), help="folder of inputs that reach new code")
    options = parser.parse_args(arguments)
    by_coverage = find_spec("atheris") is not None
    if not by_coverage:
        print("atheris is not installed here: inputs are changed at random, without regard to coverage")
    results = []
    for name in options.names or TARGETS:
        target = TARGETS[name]
        if by_coverage:
            results.append(fuzz_by_coverage(target, options.seconds, options.corpus))
        else:
            results.append(fuzz_by_mutation(target, options.seconds))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
