"""Fuzz target: one check of a parser or of rules for any bytes, with inputs to start from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import thread_time

CASES = Path(__file__).parent / "cases"
MOST_CPU = 0.5  # seconds for one input; the slowest takes some 20 ms, and 10 times that under the fuzzer


@dataclass(frozen=True)
class Target:
    """Target of a run by `name`.

    *check* raises AssertionError, or what the code under test must not raise. *seeds* are inputs to start from. *words*
    are parts of the grammar that a mutation inserts.
    """

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    max_length: int = 2048

    def run(self, data: bytes) -> None:
        """Checks *data*, and the CPU time that this takes. Raises AssertionError."""
        check_cpu(lambda: self.check(data), MOST_CPU, f"{len(data)} bytes")

    def cases(self) -> list[bytes]:
        """Returns the inputs that once failed."""
        return [path.read_bytes() for path in sorted((CASES / self.name).glob("*"))]

    def save(self, data: bytes, folder: Path = CASES) -> Path:
        """Keeps *data*, an input that failed, as a case of the tests, and returns its path."""
        path = folder / self.name / sha256(data).hexdigest()[:16]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


def check_cpu(work: Callable[[], object], most: float, subject: str) -> None:
    """Does *work*, again where it took more than *most* seconds of CPU.

    Raises AssertionError at the third time.


    A garbage collection may take as long, but not each time.
    """
    spent = 0.0
    for _ in range(3):
        before = thread_time()
        work()
        spent = thread_time() - before
        if spent <= most:
            return
    raise AssertionError(f"{spent:.2f} s of CPU for {subject}")
