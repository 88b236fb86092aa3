"""Status object of a job (fal docs, queue status).

It is the same in the answer of a submit, in a poll and in a stream event.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from proxy.sandbox.jobs import Job, LogEntry, State

Status = dict[str, object]


def describe_submit(job: Job, origin: str, *, position: int) -> Status:
    """Returns the answer of a submit."""
    return {"status": State.IN_QUEUE, **_links(job, origin), "queue_position": position}


def describe_status(
    job: Job, origin: str, *, state: State, position: int | None, log: Sequence[LogEntry] | None
) -> Status:
    """Returns the status. *position*: None outside the queue; *log*: None without `logs=1`."""
    status: Status = {"status": state, **_links(job, origin)}
    if position is not None:
        status["queue_position"] = position
    status["logs"] = None if log is None else [_log_entry(entry) for entry in log]
    status["metrics"] = {}
    if state is State.COMPLETED and job.started is not None and job.ended is not None:
        status["metrics"] = {"inference_time": round(job.ended - job.started, 4)}
    if state is State.COMPLETED and job.outcome is not None and job.outcome.error is not None:
        status["error"] = job.outcome.error
        status["error_type"] = job.outcome.error_type
    return status


def _links(job: Job, origin: str) -> Status:
    url = f"{origin}/{job.app}/requests/{job.request_id}"
    return {
        "request_id": job.request_id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
    }


def _log_entry(entry: LogEntry) -> Status:
    # fal's docs, its JavaScript types and its Swift and Java clients each read other fields of an entry.
    return {
        "message": entry.message,
        "timestamp": datetime.fromtimestamp(entry.at, UTC).isoformat(),
        "level": entry.level,
        "source": "USER",
        "labels": {"level": entry.level, "source": "USER"},
    }
