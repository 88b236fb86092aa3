"""Data of the operator page: what all workers report, with the state of what they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import orjson
from pydantic import ValidationError

from proxy import __version__
from proxy.app.operator_page.access import PageAccess
from proxy.app.operator_page.configuration import effective_configuration
from proxy.app.operator_page.history import DAY
from proxy.app.operator_page.ledger_view import DaySpend
from proxy.app.operator_page.reload_status import ReloadStatus
from proxy.app.operator_page.report import Report
from proxy.app.operator_page.reporter import Reporter
from proxy.app.operator_page.summary import summarize
from proxy.app.runtime.serving import Serving
from proxy.auth.user_names import Name, UserNames
from proxy.billing.ledger.jobs import JobRecord
from proxy.billing.ledger.money import MICRO
from proxy.billing.shortfalls import rfc3339
from proxy.config.value_types import HOUR
from proxy.strict_json import Json

REPORT_LEFT = ".report"  # what a worker leaves at its end
OpenCalls = tuple[int, tuple[JobRecord, ...]]
_NAMES_AT_ONCE = 100  # keys of 64 characters in one request target
MAX_AGE = 1.0  # seconds for which data is sent again, so that many open pages cost no more than one


class Workers(Protocol):
    """The other workers of the same service."""

    async def fetch(self, path: str) -> list[bytes]:
        """Returns the answers of the live ones."""
        ...

    def ended(self, suffix: str, *, max_age: float | None = None) -> list[bytes]:
        """Returns what those that have ended left under *suffix*."""
        ...


class OperatorPage:
    """Collects the data. *serving* returns what serves requests now, *reload_status* the state of reloads."""

    def __init__(
        self,
        reporter: Reporter,
        workers: Workers,
        *,
        serving: Callable[[], Serving],
        names: UserNames,
        reload_status: Callable[[], ReloadStatus],
    ) -> None:
        self._reporter = reporter
        self._workers = workers
        self._serving = serving
        self._names = names
        self._reload_status = reload_status
        self._collecting = asyncio.Lock()
        self._data, self._collected = b"", -MAX_AGE

    @property
    def access(self) -> PageAccess:
        """Returns the rules of the current configuration."""
        components = self._serving().components
        admin = components.config.admin
        return PageAccess(admin.host, admin.allowed_hosts, components.admin_token)

    def report(self, *, has_ended: bool = False) -> bytes:
        """Returns the report of this worker, for the others."""
        return self._reporter.report(has_ended=has_ended).model_dump_json().encode()

    def names(self, keys: Iterable[str]) -> bytes:
        """Returns the names of *keys* that this worker has seen, for the others."""
        return orjson.dumps(self._names.find(keys))

    def configuration(self) -> bytes:
        """Returns the effective configuration without secrets."""
        components = self._serving().components
        return orjson.dumps(effective_configuration(components.config, components.fal_secrets))

    async def data(self) -> bytes:
        """Returns the data of all workers."""
        async with self._collecting:
            if time.monotonic() - self._collected >= MAX_AGE:
                self._data = orjson.dumps(await self._collect())
                self._collected = time.monotonic()
            return self._data

    async def _collect(self) -> dict[str, Json]:
        now, config = time.time(), self._serving().components.config
        others, spend, calls, (ready, checks) = await asyncio.gather(
            self._workers.fetch("/report"),
            self._reporter.ledger.spend(),
            self._reporter.ledger.open_calls(),
            self._serving().readiness.check(),
        )
        reports = [self._reporter.report(), *_read(others), *_read(self._workers.ended(REPORT_LEFT, max_age=DAY))]
        oldest = now - config.privacy.requests_hours * HOUR
        data = summarize(reports, now=now, day=int(now // DAY), recent_since=oldest)
        jobs: dict[str, Json] | None = (
            None if calls is None else {"live": calls[0], "newest": [_job(one) for one in calls[1]]}
        )
        return {
            "now": rfc3339(now),
            "day": datetime.fromtimestamp(now, UTC).date().isoformat(),
            "service": {"version": __version__, "origin": config.server.public_origin, "ready": ready},
            "checks": dict(checks),
            "kinds": {"store": config.store.kind, "ledger": config.ledger.kind},
            "reload": self._reload(),
            "spend": _spend(spend),
            "jobs": jobs,
            "shows_users": config.admin.show_users,
            "names": await self._all_names(_users(reports, spend, calls)) if config.admin.show_users else {},
            **data,
        }

    def _reload(self) -> dict[str, Json]:
        status = self._reload_status()
        return {**status.model_dump(), "at": None if status.at is None else rfc3339(status.at)}

    async def _all_names(self, keys: Iterable[str]) -> Json:
        """Returns issuer and subject of *keys*, as far as any worker knows them."""
        keys = sorted(keys)
        names: dict[str, Name] = {**self._names.find(keys)}
        for start in range(0, len(keys), _NAMES_AT_ONCE):
            part = ",".join(keys[start : start + _NAMES_AT_ONCE])
            for answer in await self._workers.fetch(f"/names?keys={part}"):
                names |= {key: (issuer, subject) for key, (issuer, subject) in orjson.loads(answer).items()}
        return {key: {"issuer": issuer, "subject": subject} for key, (issuer, subject) in names.items()}


def _read(texts: Iterable[bytes]) -> list[Report]:
    """Returns the reports of *texts*, without those of a worker of another version during an upgrade."""
    reports: list[Report] = []
    for text in texts:
        with suppress(ValidationError):
            reports.append(Report.model_validate_json(text))
    return reports


def _users(reports: Iterable[Report], spend: DaySpend | None, calls: OpenCalls | None) -> set[str]:
    """Returns the keys of all users that the page shows."""
    keys = {one.user for report in reports for one in report.recent if one.user is not None}
    keys |= {str(row["user"]) for row in (() if spend is None else spend.users)}
    return keys | {record.caller for record in (() if calls is None else calls[1])}


def _spend(spend: DaySpend | None) -> Json:
    if spend is None:
        return None
    return {
        "used": spend.used,
        "reserved": spend.reserved,
        "refunded": spend.refunded,
        "users": [dict(row) for row in spend.users],
        "number_of_users": spend.number_of_users,
    }


def _job(record: JobRecord) -> Json:
    return {
        "id": record.job or record.id,
        "is_job": record.job is not None,
        "endpoint": record.endpoint,
        "user": record.caller,
        "state": record.state,
        "key_alias": record.key_alias or None,
        "reserved": record.amount / MICRO,
        "created_at": rfc3339(record.created),
    }
