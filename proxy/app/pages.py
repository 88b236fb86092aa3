"""Routes beside the gateway: health, readiness, and pages about the caller."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable, Iterable

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy.app.caller_pages import CallerPages
from proxy.app.readiness import Readiness
from proxy.app.session_page import SessionPage
from proxy.errors import MethodNotAllowed, NotFound, Refusal
from proxy.fal_api.operations import Action
from proxy.http.fields import accepts_gzip
from proxy.http.request import REQUEST
from proxy.http.response import PROTECTIVE, error_response
from proxy.strict_json import Json
from proxy.telemetry.access_record import RECORD, AccessRecord

_COMPRESSION = 5  # zlib level: most of the gain in a millisecond or two


def create_pages(
    *,
    prefix: str,
    readiness: Readiness,
    caller_pages: CallerPages,
    session_page: SessionPage,
    routes: Iterable[Route] = (),
) -> Starlette:
    """Returns the application of these routes and of *routes*."""

    async def healthz(_: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(_: Request) -> Response:
        ready, checks = await readiness.check()
        return _json({"ready": ready, "checks": dict(checks)}, status=200 if ready else 503)

    async def openapi(request: Request) -> Response:
        return _compressed(request, await caller_pages.openapi(request.scope[REQUEST]))

    async def usage(request: Request) -> Response:
        return _json(await caller_pages.usage(request.scope[REQUEST], request.scope[RECORD]))

    async def create_session(request: Request) -> Response:
        request.scope[RECORD].action = Action.SESSION
        body, cookie = await session_page.create(request.scope[REQUEST])
        response = _json(body)
        response.raw_headers.append((b"set-cookie", cookie))
        return response

    async def end_session(request: Request) -> Response:
        request.scope[RECORD].action = Action.SESSION
        cookie = await session_page.end(request.scope[REQUEST])
        response = Response(status_code=204)
        response.raw_headers.append((b"set-cookie", cookie))
        return response

    app = Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route(f"{prefix}/openapi.json", openapi, methods=["GET"]),
            Route(f"{prefix}/usage", usage, methods=["GET"]),
            Route(f"{prefix}/session", create_session, methods=["POST"]),
            Route(f"{prefix}/session", end_session, methods=["DELETE"]),
            *routes,
        ],
        exception_handlers={HTTPException: _http_exception, Refusal: _refusal},
    )
    # A redirect would be built from the Host header; no route answers 3xx.
    app.router.redirect_slashes = False
    return app


_VARY = dict(PROTECTIVE)[b"vary"].decode("ascii")


def _json(value: Json, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _compressed(request: Request, value: Json) -> Response:
    """Returns *value* in gzip where the client accepts it: schemas are long and repetitive."""
    body, fields = orjson.dumps(value), {"vary": f"{_VARY}, Accept-Encoding"}
    if accepts_gzip(request.scope["headers"]):
        body, fields = gzip.compress(body, _COMPRESSION, mtime=0), {**fields, "content-encoding": "gzip"}
    return Response(body, headers=fields, media_type="application/json")


async def _refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    record = request.scope.get(RECORD)
    if isinstance(record, AccessRecord):
        record.record_refusal(error)
    answer = error_response(error)
    response = Response(answer.body, answer.status, media_type="application/json")
    response.raw_headers.extend(answer.headers)
    return response


async def _http_exception(request: Request, error: Exception) -> Response:
    """Answers Starlette's own errors (no route, wrong method) in the form of all errors."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return await _refusal(request, MethodNotAllowed(["GET"]) if status == 405 else NotFound())


def create_metrics(exposition: Callable[[], Awaitable[bytes]]) -> Starlette:
    """Returns the application of `/metrics` in the Prometheus text format."""

    async def metrics(_: Request) -> Response:
        return metrics_response(await exposition())

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])


def metrics_response(exposition: bytes) -> Response:
    """Returns metrics in the Prometheus text format 0.0.4."""
    response = Response(exposition, media_type="text/plain; version=0.0.4; charset=utf-8")
    response.raw_headers.extend(PROTECTIVE)
    return response
