from __future__ import annotations

import dataclasses

from proxy.sandbox.request_log import LoggedRequest, RequestLog

ENTRY = LoggedRequest(0.0, "queue", "POST", "/a/b", "", [], "", 0)


def test_counts_are_of_what_was_taken_on() -> None:
    """Submits and runs by endpoint, cancels, and billable units to four places; a clear forgets them all."""
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


def test_the_journal_keeps_the_newest() -> None:
    """Past its size the oldest entries go."""
    journal = RequestLog(size=2)
    for number in range(3):
        journal.entries.append(dataclasses.replace(ENTRY, at=float(number)))

    assert [entry.at for entry in journal.entries] == [1.0, 2.0]
