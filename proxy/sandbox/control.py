"""Control API: received requests, counts and faults. For a loopback port of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.sandbox.faults import Fault, FaultSet
from proxy.sandbox.request_log import RequestLog

_FAULTS = TypeAdapter(tuple[Fault, ...])


@dataclass(frozen=True, slots=True)
class Control:
    """Route functions of the control API. *clear_state* removes jobs, files, counts and faults."""

    request_log: RequestLog
    faults: FaultSet
    clear_state: Callable[[], None]

    async def read_journal(self, request: Request) -> Response:
        """Returns the logged requests, oldest first."""
        return JSONResponse([asdict(entry) for entry in self.request_log.entries])

    async def read_counts(self, request: Request) -> Response:
        """Returns the numbers of accepted calls and the billable units."""
        return JSONResponse(self.request_log.counts())

    async def read_faults(self, request: Request) -> Response:
        """Returns the active faults, each with the count that is left."""
        return self._faults_response()

    async def put_faults(self, request: Request) -> Response:
        """Replaces the active faults by the JSON list in the body. Answers 422 where an item is invalid."""
        try:
            faults = _FAULTS.validate_json(await request.body())
        except ValidationError as exc:
            return Response(exc.json(include_url=False, include_context=False), 422, media_type="application/json")
        self.faults.replace(faults)
        return self._faults_response()

    async def delete_faults(self, request: Request) -> Response:
        """Removes every fault."""
        self.faults.replace(())
        return self._faults_response()

    async def reset(self, request: Request) -> Response:
        """Removes jobs, files, logged requests, counts and faults."""
        self.clear_state()
        return Response(status_code=204)

    def _faults_response(self) -> Response:
        return JSONResponse(_FAULTS.dump_python(self.faults.active, mode="json"))
