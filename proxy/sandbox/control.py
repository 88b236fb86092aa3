"""The control endpoint: what reached the sandbox, and which faults are set. For its own loopback port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.sandbox.faults import Fault, Knobs
from proxy.sandbox.journal import Journal

_FAULTS = TypeAdapter(tuple[Fault, ...])


@dataclass(frozen=True, slots=True)
class Control:
    journal: Journal
    knobs: Knobs
    forget: Callable[[], None]

    async def read_journal(self, request: Request) -> Response:
        return JSONResponse([asdict(entry) for entry in self.journal.entries])

    async def read_counts(self, request: Request) -> Response:
        return JSONResponse(self.journal.counts())

    async def read_faults(self, request: Request) -> Response:
        return self._faults()

    async def put_faults(self, request: Request) -> Response:
        """Body: a JSON list of faults, which replaces the ones that were set."""
        try:
            faults = _FAULTS.validate_json(await request.body())
        except ValidationError as exc:
            return Response(exc.json(include_url=False, include_context=False), 422, media_type="application/json")
        self.knobs.set(faults)
        return self._faults()

    async def delete_faults(self, request: Request) -> Response:
        self.knobs.set(())
        return self._faults()

    async def reset(self, request: Request) -> Response:
        """Forgets jobs, files, journal, counts and faults."""
        self.forget()
        return Response(status_code=204)

    def _faults(self) -> Response:
        return JSONResponse(_FAULTS.dump_python(self.knobs.faults, mode="json"))
