"""Schedule of the status requests that end jobs no caller asks about. Pure."""

from __future__ import annotations

FIRST_LOOK = 60.0  # seconds after the job was reserved
PER_SECOND = 10  # looks of all workers at due jobs
LONGEST_PAUSE = 600.0  # seconds between two looks at one job


def next_look(created: float, now: float) -> float:
    """Returns when a job *created* then is due again, if it is looked at *now*; all in unix seconds.

    The first look is due after FIRST_LOOK; each later one after half the job's age, at most LONGEST_PAUSE.
    """
    age = now - created
    if age < FIRST_LOOK:
        return created + FIRST_LOOK
    return now + min(age / 2, LONGEST_PAUSE)
