from __future__ import annotations

from proxy.telemetry.process.clock_watch import ClockWatch


def test_steps_of_the_clock_are_seen_once() -> None:
    """Time that passes and small corrections are no step; an hour back and two days ahead are."""
    wall, monotonic = [1_795_000_000.0], [0.0]
    watch = ClockWatch(lambda: wall[0], lambda: monotonic[0])
    steps = []
    for passed, corrected in ((10.0, 0.0), (10.0, 0.5), (10.0, -3600.0), (10.0, 0.0), (10.0, 172_800.0)):
        monotonic[0] += passed
        wall[0] += passed + corrected
        steps.append(watch.step())

    assert steps == [None, None, -3600.0, None, 172_800.0]
