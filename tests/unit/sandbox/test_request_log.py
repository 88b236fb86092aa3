from __future__ import annotations

import dataclasses

from proxy.sandbox.request_log import LoggedRequest, RequestLog

ENTRY = LoggedRequest(0.0, "queue", "POST", "/a/b", "", [], "", 0)


def test_counts_are_of_accepted_calls() -> None:
    """Submits and runs by endpoint, cancels, and units to four places are counted until a clear."""
    journal = RequestLog(size=10)
    for endpoint in ("a/b", "a/b", "a/c"):
        journal.count_submit(endpoint)
    journal.count_run("a/b")
    journal.count_cancel()
    for _ in range(3):
        journal.add_units(0.1)

    assert journal.counts() == {
        "submits": {"total": 3, "by_endpoint": {"a/b": 2, "a/c": 1}},
        "runs": {"total": 1, "by_endpoint": {"a/b": 1}},
        "cancels": 1,
        "billable_units": 0.3,
    }
    journal.clear()
    assert journal.counts()["billable_units"] == 0
    assert journal.counts()["submits"] == {"total": 0, "by_endpoint": {}}


def test_the_log_has_the_newest_requests() -> None:
    """Above its size the oldest entries are dropped."""
    journal = RequestLog(size=2)
    for number in range(3):
        journal.entries.append(dataclasses.replace(ENTRY, at=float(number)))

    assert [entry.at for entry in journal.entries] == [1.0, 2.0]
