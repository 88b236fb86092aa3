"""Short run of every fuzz target, and the command of the long one. `make fuzz` runs them by coverage."""

from __future__ import annotations

from pathlib import Path
from random import Random
from time import thread_time

import pytest
from fuzz import __main__ as command
from fuzz.mutation import mutants
from fuzz.table import TARGETS
from fuzz.target import CASES, Target, check_cpu

SHORT = 1.2  # seconds of CPU for each target
MOST_TESTED = 0.02


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_cases_pass(name: str) -> None:
    """Hostile inputs of the other tests, and all that ever failed, keep the invariants of the target."""
    target = TARGETS[name]

    for data in (*target.seeds(), *target.cases()):
        target.run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_random_changes_pass(name: str) -> None:
    """Changed seeds keep the invariants, the same ones in each run."""
    target = TARGETS[name]
    seeds = list(target.seeds())
    end, runs = thread_time() + SHORT, 0

    for data in mutants(seeds, target.words, target.max_length, Random(1)):
        assert len(data) <= target.max_length
        try:
            target.run(data)
        except BaseException as error:
            error.add_note(f"for {data!r}")
            raise
        runs += 1
        if thread_time() > end:
            break
    assert runs > 100


def test_each_case_belongs_to_a_target() -> None:
    """A renamed target does not leave its cases behind, where nothing would run them."""
    assert {path.name for path in CASES.iterdir() if path.is_dir()} <= TARGETS.keys()


def refuse_percent(data: bytes) -> None:
    assert b"%" not in data


def test_an_input_that_fails_is_printed_and_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run ends with the error, and its input is a file of the cases."""
    target = Target("planted", refuse_percent, lambda: [b"abc", b"def"], words=(b"%2e",))

    with pytest.raises(AssertionError):
        command.fuzz_by_mutation(target, 60, tmp_path)

    (path,) = (tmp_path / "planted").iterdir()
    assert b"%" in path.read_bytes()
    assert f"{path}:\n{path.read_bytes()!r}" in capsys.readouterr().out


class Pauses:
    """Work that takes CPU the first *times* it is done."""

    def __init__(self, times: int) -> None:
        self._left = times

    def __call__(self) -> None:
        self._left -= 1
        end = thread_time() + 2 * MOST_TESTED if self._left >= 0 else 0.0
        while thread_time() < end:
            pass


def test_an_input_that_takes_long_fails() -> None:
    """CPU time is an invariant of every target; a pause that does not come again is no fault of the input."""
    with pytest.raises(AssertionError, match="s of CPU for 3 bytes"):
        check_cpu(Pauses(3), MOST_TESTED, "3 bytes")
    check_cpu(Pauses(2), MOST_TESTED, "3 bytes")


def test_a_good_target_ends_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A run without a failure reports its inputs."""
    assert command.fuzz_by_mutation(Target("good", len, lambda: [b"abc"]), 0.01)  # type: ignore[arg-type]

    assert capsys.readouterr().out.startswith("good: ")


def test_an_unknown_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The command names the targets that there are."""
    with pytest.raises(SystemExit):
        command.main(["nonsense"])

    assert "payload_rules" in capsys.readouterr().err
