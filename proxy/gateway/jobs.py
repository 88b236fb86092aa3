"""Jobs: the list of a caller's own jobs, newest first."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from urllib.parse import parse_qsl

import orjson

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.auth.job_handles import JobHandles
from proxy.billing.ledger.jobs import Cursor, JobRecord, JobState
from proxy.billing.ledger.money import MICRO
from proxy.billing.reservations import Accounting
from proxy.billing.shortfalls import rfc3339
from proxy.errors import BadRequest
from proxy.gateway.admission import Admission
from proxy.http.request import Request
from proxy.http.response import Response
from proxy.strict_json import Json
from proxy.telemetry.access_record import AccessRecord

DEFAULT_LIMIT, MAX_LIMIT = 20, 100  # jobs of one page
STATES: frozenset[JobState] = frozenset({"queued", "running", "completed", "failed", "cancelled", "unknown"})
_QUEUED: frozenset[JobState] = frozenset({"queued"})
_NAMES = frozenset({"state", "limit", "cursor"})
_CURSOR = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ([!-~]{1,128})")


class Jobs:
    """Operation of `GET /jobs`."""

    def __init__(self, admission: Admission, accounting: Accounting, handles: JobHandles) -> None:
        self._admission = admission
        self._accounting = accounting
        self._handles = handles

    async def handle(self, request: Request, grant: Grant, record: AccessRecord) -> Response:
        """Returns a page of jobs. Raises BadRequest for a malformed query, RateLimited and StoreAway."""
        states, limit, before = parse_query(grant.target.query)
        await self._admission.discard(request)
        record.enter("reserve", "nothing is reserved")
        quota = await self._accounting.count_request(grant, request.address)
        record.observed = quota.observed
        # One more than asked for shows whether there is a next page.
        records = await self._list(grant.caller, states, limit + 1, before)
        page = records[:limit]
        body: dict[str, Json] = {
            "jobs": [self._job(one, grant.caller.key) for one in page],
            "next_cursor": dump_cursor(page[-1]) if len(records) > limit else None,
        }
        return Response(200, orjson.dumps(body), quota.headers)

    async def _list(
        self, caller: Caller, states: frozenset[JobState], limit: int, before: Cursor | None
    ) -> tuple[JobRecord, ...]:
        """Returns up to *limit* records. A call of unknown outcome is queued in the ledger until it settles."""
        stored = states | _QUEUED if "unknown" in states else states
        records: list[JobRecord] = []
        while True:
            page = await self._accounting.jobs(caller, states=stored, limit=limit, before=before)
            shown = [replace(one, state="unknown") if self._accounting.is_overdue(one) else one for one in page]
            records += [one for one in shown if one.state in states]
            if len(page) < limit or len(records) >= limit:
                return tuple(records[:limit])
            before = page[-1].created, page[-1].id

    def _job(self, record: JobRecord, owner: str) -> Json:
        return {
            "request_id": self._handle(record, owner),
            "endpoint": record.endpoint,
            "state": record.state,
            "created_at": rfc3339(record.created),
            "ended_at": None if record.ended is None else rfc3339(record.ended),
            "price": None if record.price is None else record.price / MICRO,
        }

    def _handle(self, record: JobRecord, owner: str) -> str | None:
        """The handle of a job; None for a run and for a call of unknown outcome, which have none."""
        if record.job is None:
            return None
        app, _, upstream_id = record.job.rpartition("/")
        return self._handles.sign(upstream_id, owner=owner, app=app, key_alias=record.key_alias)


def parse_query(query: str) -> tuple[frozenset[JobState], int, Cursor | None]:
    """Returns states, limit and cursor of a query. Raises BadRequest."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=8) if query else []
    except ValueError as error:
        raise _bad_query("The query is malformed") from error
    fields = dict(pairs)
    if len(fields) < len(pairs) or not fields.keys() <= _NAMES:
        raise _bad_query("The query takes state, limit and cursor, once each")
    states = frozenset(state for state in STATES if state == fields.get("state", state))
    if not states:
        raise _bad_query(f"state is one of {', '.join(sorted(STATES))}")
    limit = fields.get("limit", str(DEFAULT_LIMIT))
    if re.fullmatch(r"[1-9][0-9]{0,2}", limit) is None or int(limit) > MAX_LIMIT:
        raise _bad_query(f"limit is a number from 1 to {MAX_LIMIT}")
    return states, int(limit), load_cursor(fields["cursor"]) if "cursor" in fields else None


def dump_cursor(record: JobRecord) -> str:
    """Returns the place of *record* in the list as opaque text."""
    return urlsafe_b64encode(f"{record.created!r} {record.id}".encode()).rstrip(b"=").decode("ascii")


def load_cursor(text: str) -> Cursor:
    """Returns the place that `dump_cursor` made text of. Raises BadRequest."""
    try:
        parts = _CURSOR.fullmatch(urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii"))
    except ValueError as error:
        raise _bad_query("cursor is not one of this list") from error
    if parts is None:
        raise _bad_query("cursor is not one of this list")
    return float(parts[1]), parts[2]


def _bad_query(detail: str) -> BadRequest:
    return BadRequest(detail, error_type="bad_query")
