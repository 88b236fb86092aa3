import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.errors import InternalError, OutcomeUnknown, RateLimited, StoreAway
from proxy.fal_api.operations import Action
from proxy.telemetry.access_record import AccessRecord
from proxy.telemetry.counters import MAX_CHILDREN
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry
from proxy.telemetry.request_line import Journaling


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A Telemetry with all that it is given, and what came out of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.clock = Clock()
        self.journal = JsonLogWriter(self._fd)
        self.telemetry = Telemetry(self.journal, clock=self.clock)

    def lines(self) -> list[dict[str, object]]:
        self.journal.close(timeout=10)
        return [orjson.loads(line) for line in self._path.read_bytes().splitlines()]

    def sample(self, name: str, **labels: str) -> float | None:
        """Returns the exposed value of `fal_proxy_<name>` with exactly *labels*."""
        text = self.telemetry.exposition().decode()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        values = [s.value for s in samples if s.name == f"fal_proxy_{name}" and s.labels == labels]
        return values[0] if values else None

    def close(self) -> None:
        self.journal.close(timeout=10)
        os.close(self._fd)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "log")
    yield rig
    rig.close()


def submit(rig: Rig) -> AccessRecord:
    record = rig.telemetry.open("POST", b"/api/fal/proxy")
    record.action, record.endpoint, record.caller = Action.SUBMIT, "fal-ai/hyper-sdxl", "0123456789abcdef" * 4
    record.address = "203.0.113.9"
    return record


def test_the_line_of_an_answered_request(rig: Rig) -> None:
    """A request has one line, with what is known, the caller by 16 digits only and times in milliseconds."""
    record = submit(rig)
    with record.upstream_clock():
        rig.clock.now += 0.2
    rig.clock.now += 0.05
    record.status, record.outcome, record.response_bytes = 200, "accepted", 345
    record.job = "fal-ai/hyper-sdxl/0d3f"
    rig.telemetry.close(record)

    (line,) = rig.lines()
    assert list(line)[:3] == ["time", "level", "event"]
    assert {name: value for name, value in line.items() if name != "time"} == {
        "level": "info",
        "event": "request",
        "request_id": record.request_id,
        "method": "POST",
        "action": "submit",
        "endpoint": "fal-ai/hyper-sdxl",
        "caller": "0123456789abcdef",
        "address": "203.0.113.9",
        "job": "fal-ai/hyper-sdxl/0d3f",
        "status": 200,
        "outcome": "accepted",
        "upstream_ms": 200.0,
        "duration_ms": 250.0,
        "response_bytes": 345,
    }


def test_the_line_of_garbage(rig: Rig) -> None:
    """A request for an unknown route is logged with its path, of at most 256 characters."""
    rig.telemetry.close(rig.telemetry.open("GET", b"/\xff\x1b[2J" + b"x" * 8000))

    (line,) = rig.lines()
    path = line["path"]
    assert isinstance(path, str)
    assert (path[:6], len(path)) == ("/\xff\x1b[2J", 256)
    assert line["action"] == "none"
    assert line.keys().isdisjoint({"endpoint", "caller"})


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        (b"/p/queue/a/b/requests/0d3f.c2VjcmV0/status", "/p/queue/a/b/requests/0d3f.-/status"),
        (b"/p/queue/a/b/requests/0d3f~k2.c2VjcmV0", "/p/queue/a/b/requests/0d3f~k2.-"),
        (b"/p/webhooks/fal/c2VhbA", "/p/webhooks/fal/-"),
        (b"/p/usage", "/p/usage"),
    ],
)
def test_the_path_of_a_line_has_no_mac_and_no_seal(rig: Rig, path: bytes, logged: str) -> None:
    """A proof of a job or of a webhook is cut out of a path."""
    rig.telemetry.close(rig.telemetry.open("GET", path))

    assert [line["path"] for line in rig.lines()] == [logged]


def test_most_successful_polls_have_no_line(rig: Rig) -> None:
    """One in a number has one; a failed poll always does; the metrics have all."""
    rig.telemetry.lines.journaling = Journaling(polls_per_line=10)
    for status in [200] * 25 + [502]:
        record = submit(rig)
        record.action, record.status = Action.STATUS, status
        rig.telemetry.close(record)

    labels = {"action": "status", "endpoint": "fal-ai/hyper-sdxl", "status": "200"}
    assert rig.sample("requests_total", **labels) == 25
    assert rig.sample("log_lines_omitted_total") == 22
    assert [line["status"] for line in rig.lines()] == [200, 200, 200, 502]


def test_no_successful_poll_has_a_line(rig: Rig) -> None:
    """With a share of 0."""
    rig.telemetry.lines.journaling = Journaling(polls_per_line=0)
    record = submit(rig)
    record.action, record.status = Action.STATUS, 200
    rig.telemetry.close(record)

    assert rig.lines() == []


@pytest.mark.parametrize(("logged", "statuses"), [(False, [503]), (True, [200, 503])])
def test_health_checks(rig: Rig, logged: bool, statuses: list[int]) -> None:
    """A health check has a line where the operator asks for one, or where it fails."""
    rig.telemetry.lines.journaling = Journaling(health_checks=logged)
    for status in (200, 503):
        record = rig.telemetry.open("GET", b"/healthz")
        record.action, record.status = "health", status
        rig.telemetry.close(record)

    assert [line["status"] for line in rig.lines()] == statuses


def test_a_journal_without_addresses(rig: Rig) -> None:
    """The operator may leave the address of the client out."""
    rig.telemetry.lines.journaling = Journaling(addresses=False)
    rig.telemetry.close(submit(rig))

    assert "address" not in rig.lines()[0]


def test_the_level_of_a_line(rig: Rig) -> None:
    """A refusal is information, a failure a warning, a defect an error."""
    for refusal in (RateLimited(retry_after=1), StoreAway(), InternalError()):
        record = submit(rig)
        record.record_refusal(refusal)
        rig.telemetry.close(record)

    assert [line["level"] for line in rig.lines()] == ["info", "warning", "error"]


def test_a_refusal(rig: Rig) -> None:
    """A refusal is logged with status, type, limits and the reason, which the caller does not get."""
    record = submit(rig)
    record.record_refusal(RateLimited(retry_after=3, reason="rate limit a, b", limit=("rate", "a", "b")))
    rig.telemetry.close(record)

    assert b'fal_proxy_limit_refusals_total{kind="rate",name="b"} 1.0' in rig.telemetry.exposition()
    (line,) = rig.lines()
    assert (line["status"], line["error_type"], line["limit"]) == (429, "rate_limited", "a, b")
    assert line["reason"] == "rate limit a, b"


def test_an_endpoint_that_was_refused(rig: Rig) -> None:
    """A refused endpoint is in the line, and in no label."""
    record = submit(rig)
    record.endpoint, record.asked, record.status = None, "any/text", 403
    rig.telemetry.close(record)

    assert rig.sample("requests_total", action="submit", endpoint="none", status="403") == 1
    assert [line["endpoint"] for line in rig.lines()] == ["any/text"]


def test_a_defect(rig: Rig) -> None:
    """A defect is logged with its frames, innermost first, however long its message is."""
    record = submit(rig)
    try:
        orjson.loads("x" * 1000)
    except ValueError as error:
        record.record_failure(error)
    rig.telemetry.close(record)

    (line,) = rig.lines()
    assert line["error_type"] == "internal_error"
    assert str(line["reason"]).startswith("JSONDecodeError: ")
    assert "(test_metrics.py:" in str(line["reason"])


def test_the_upstream_clock_stops_at_an_error(rig: Rig) -> None:
    """The wait for fal is logged also where it ends with an error."""
    record = submit(rig)

    def relay() -> None:
        with record.upstream_clock():
            rig.clock.now += 1.5
            raise OutcomeUnknown

    with pytest.raises(OutcomeUnknown):
        relay()

    assert record.upstream_ms == 1500.0


def test_what_ends_before_it_is_a_request(rig: Rig) -> None:
    """A connection without a complete request is counted, and makes no line."""
    rig.telemetry.count_early_rejections("head_too_large", 1)

    assert rig.sample("refusals_total", error_type="head_too_large") == 1
    assert rig.lines() == []


def test_request_ids(rig: Rig) -> None:
    """128 random bits in hexadecimal, new for each request."""
    ids = {rig.telemetry.open("GET", b"/").request_id for _ in range(100)}

    assert len(ids) == 100
    assert all(len(bytes.fromhex(one)) == 16 for one in ids)


def test_what_is_counted(rig: Rig) -> None:
    """Requests by action, endpoint and status, their duration, refusals by type and outcomes by endpoint."""
    for status in (200, 200, 429):
        record = submit(rig)
        record.status = status
        if status == 429:
            record.record_refusal(RateLimited(retry_after=1))
        else:
            record.outcome = "accepted"
            rig.clock.now += 0.3
            record.upstream_ms = 290.0
        rig.telemetry.close(record)
    rig.telemetry.close(rig.telemetry.open("GET", b"/healthz"))

    at = {"action": "submit", "endpoint": "fal-ai/hyper-sdxl"}
    assert rig.sample("requests_total", **at, status="200") == 2
    assert rig.sample("requests_total", **at, status="429") == 1
    assert rig.sample("requests_total", action="none", endpoint="none", status="0") == 1
    assert rig.sample("upstream_duration_seconds_sum", **at) == pytest.approx(0.58)
    assert rig.sample("upstream_duration_seconds_count", **at) == 2
    assert rig.sample("overhead_seconds_sum", action="submit") == pytest.approx(0.02)
    assert rig.sample("request_duration_seconds_bucket", action="submit", le="0.25") == 1
    assert rig.sample("request_duration_seconds_bucket", action="submit", le="0.5") == 3
    assert rig.sample("request_duration_seconds_count", action="submit") == 3
    assert rig.sample("refusals_total", error_type="rate_limited") == 1
    labels = {"action": "submit", "endpoint": "fal-ai/hyper-sdxl", "outcome": "accepted"}
    assert rig.sample("upstream_outcomes_total", **labels) == 2


def test_labels_are_bounded(rig: Rig) -> None:
    """The number of series stays bounded for any label values, and no request is lost."""
    for i in range(MAX_CHILDREN + 50):
        record = rig.telemetry.open("GET", b"/")
        record.record_refusal(StoreAway(error_type=f"made-up-{i}"))
        rig.telemetry.close(record)

    series = [line for line in rig.telemetry.exposition().splitlines() if line.startswith(b"fal_proxy_refusals_total{")]
    assert len(series) == MAX_CHILDREN + 1
    assert rig.sample("refusals_total", error_type="other") == 50


def test_lines_that_were_dropped(rig: Rig) -> None:
    """A log that loses lines shows in the metrics."""
    rig.journal.close(timeout=10)
    rig.telemetry.close(submit(rig))

    assert rig.sample("log_lines_dropped_total") == 1


def test_what_lives_elsewhere_is_read_at_each_scrape(rig: Rig) -> None:
    """Gauges and totals of other parts are read at each scrape."""
    pool = {"idle": 3}
    rig.telemetry.gauge("upstream_idle", "Idle connections to fal.", lambda: pool["idle"])
    rig.telemetry.counter("store_failures", "Calls the store did not answer.", lambda: 7)
    first = rig.sample("upstream_idle")
    pool["idle"] = 5

    assert (first, rig.sample("upstream_idle"), rig.sample("store_failures_total")) == (3, 5, 7)


def test_a_counter_goes_on_where_its_source_is_replaced(rig: Rig) -> None:
    """The counter of an object that a reload replaces does not fall."""
    rig.telemetry.counter("upstream_connects", "Connections.", lambda: 5)
    rig.telemetry.counter("upstream_connects", "Connections.", lambda: 2)

    assert rig.sample("upstream_connects_total") == 7
