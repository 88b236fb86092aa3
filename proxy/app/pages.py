"""What is served beside the gateway: health, readiness, and the description of the listed endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy.errors import MethodNotAllowed, NotFound, Refusal
from proxy.http.fields import Fields
from proxy.http.response import PROTECTIVE, refused
from proxy.strict_json import Json

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]
# Whether to send callers here, and a word on each thing that was looked at, fit for anyone to read.
Readiness = Callable[[], Awaitable[tuple[bool, Mapping[str, str]]]]
# Both take the request's header fields, and answer the caller they name or raise.
Describe = Callable[[Fields], Json]
Usage = Callable[[Fields], Awaitable[Json]]


def create_site(
    *,
    prefix: str,
    readiness: Readiness,
    describe: Describe,
    usage: Usage,
    lifespan: Lifespan,
    pages: Iterable[Route] = (),
) -> Starlette:
    """*pages* are further routes, where the playground is on."""

    async def healthz(_: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(_: Request) -> Response:
        ready, checks = await readiness()
        return _json({"ready": ready, "checks": dict(checks)}, status=200 if ready else 503)

    async def openapi(request: Request) -> Response:
        return _json(describe(request.scope["headers"]))

    async def used(request: Request) -> Response:
        return _json(await usage(request.scope["headers"]))

    app = Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route(f"{prefix}/openapi.json", openapi, methods=["GET"]),
            Route(f"{prefix}/usage", used, methods=["GET"]),
            *pages,
        ],
        exception_handlers={HTTPException: _http_exception, Refusal: _refusal},
        lifespan=lifespan,
    )
    # A redirect would be built from the Host header; no route of ours answers 3xx.
    app.router.redirect_slashes = False
    return app


def _json(value: Json, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


async def _refusal(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    answer = refused(error)
    response = Response(answer.body, answer.status, media_type="application/json")
    response.raw_headers.extend(answer.headers)
    return response


async def _http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no route, wrong method), in our words."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return await _refusal(request, MethodNotAllowed(["GET"]) if status == 405 else NotFound())


def create_metrics(exposition: Callable[[], bytes]) -> Starlette:
    """The admin listener's only page, in the Prometheus text format."""

    async def metrics(_: Request) -> Response:
        response = Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
        response.raw_headers.extend(PROTECTIVE)
        return response

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])
