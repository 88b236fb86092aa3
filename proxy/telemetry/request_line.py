"""Journal line of one request, and the choice of requests that get one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.telemetry.access_record import AccessRecord, milliseconds
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.levels import level_of_answer

HEALTH = "health"  # the action of /healthz and /readyz
POLL = "status"  # the action of a poll
# A handle's mac, and the seal in the URL that fal calls, are not for readers of the journal.
_SECRET_IN_PATH = re.compile(rb"(/requests/[^/.]{0,128}\.|/webhooks/fal/)[^/]+")


@dataclass(frozen=True, slots=True)
class Journaling:
    """Choices of the operator. Of successful polls one in *polls_per_line* gets a line, with 0 none."""

    polls_per_line: int = 1
    health_checks: bool = False
    addresses: bool = True


class RequestLines:
    """Writer of the lines of requests to *log*. *omitted* counts the requests without a line."""

    def __init__(self, log: JsonLogWriter, journaling: Journaling) -> None:
        self.journaling = journaling
        self.omitted = 0
        self._log = log
        self._polls = 0

    def write(self, record: AccessRecord, action: str, seconds: float) -> None:
        """Writes the line of a request that took *seconds*, unless it is one of many alike."""
        # Only these two actions are ever omitted: no call for the others.
        if record.status < 400 and action in (POLL, HEALTH) and self._is_omitted(action):
            self.omitted += 1
            return
        self._log.write(self._fields(record, action, seconds), level_of_answer(record.status, record.error_type))

    def _is_omitted(self, action: str) -> bool:
        if action == HEALTH:
            return not self.journaling.health_checks
        every, self._polls = self.journaling.polls_per_line, self._polls + 1
        return not every or (self._polls - 1) % every != 0

    def _fields(self, record: AccessRecord, action: str, seconds: float) -> dict[str, object]:
        fields: dict[str, object] = {
            "event": "request",
            "request_id": record.request_id,
            "method": record.method,
            "action": action,
            "status": record.status,
            "duration_ms": milliseconds(seconds),
            "response_bytes": record.response_bytes,
        }
        endpoint = record.endpoint or record.asked
        if endpoint is not None:
            fields["endpoint"] = endpoint
        else:
            fields["path"] = _SECRET_IN_PATH.sub(rb"\1-", record.path).decode("latin-1")
        if record.caller is not None:
            fields["caller"] = record.caller[:16]
        if record.address and self.journaling.addresses:
            fields["address"] = record.address
        if record.outcome is not None:
            fields["outcome"] = str(record.outcome)
        if record.error_type is not None or record.reason is not None:
            _add_reason(fields, record)
        if record.upstream_ms is not None:
            fields["upstream_ms"] = record.upstream_ms
        if record.job is not None:
            fields["job"] = record.job
        if record.ended is not None:
            fields["ended"] = record.ended
        if record.observed:
            fields["would_deny"] = ", ".join(record.observed)
        return fields


def _add_reason(fields: dict[str, object], record: AccessRecord) -> None:
    """Adds why a request was refused or ended, and by which limit."""
    if record.error_type is not None:
        fields["error_type"] = record.error_type
    if record.reason is not None:
        fields["reason"] = record.reason
    if record.limit:
        fields["limit"] = ", ".join(record.limit[1:])
