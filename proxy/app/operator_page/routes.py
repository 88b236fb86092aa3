"""Routes of the operator page on the admin listener, and of the reports between workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy.app.operator_page.files import CONTENT_SECURITY_POLICY, operator_files
from proxy.app.operator_page.page import OperatorPage
from proxy.app.page_files import answer_file
from proxy.errors import Refusal, Unauthenticated
from proxy.http.response import PROTECTIVE, error_response

DATA, CONFIGURATION = "/operator/data.json", "/operator/configuration.json"
_CHALLENGE = 'Basic realm="fal-auth-proxy operator page: any user, the admin token as password", charset="UTF-8"'

Endpoint = Callable[[Request], Awaitable[Response]]


def page_routes(page: OperatorPage) -> list[Route]:
    """Returns the routes for the operator. Raises OSError where a file is missing."""

    async def data(_: Request) -> Response:
        return _json(await page.data())

    async def configuration(_: Request) -> Response:
        return _json(page.configuration())

    endpoints: dict[str, Endpoint] = {
        path: answer_file(file, CONTENT_SECURITY_POLICY) for path, file in operator_files().items()
    }
    endpoints |= {DATA: data, CONFIGURATION: configuration}
    return [Route(path, _guarded(page, endpoint), methods=["GET"]) for path, endpoint in endpoints.items()]


def worker_routes(page: OperatorPage) -> list[Route]:
    """Returns the routes for the other workers, on a socket that only this user can open."""

    async def report(_: Request) -> Response:
        return _json(page.report())

    async def names(request: Request) -> Response:
        return _json(page.names(request.query_params.get("keys", "").split(",")))

    return [Route("/report", report, methods=["GET"]), Route("/names", names, methods=["GET"])]


def _guarded(page: OperatorPage, endpoint: Endpoint) -> Endpoint:
    """Returns *endpoint* behind the checks of Host, origin and token. A query string changes nothing."""

    async def answer(request: Request) -> Response:
        try:
            page.access.check(request.scope["headers"])
        except Refusal as refusal:
            return _refused(refusal)
        response = await endpoint(request)
        own = {name for name, _ in response.raw_headers}
        response.raw_headers.extend(field for field in PROTECTIVE if field[0] not in own)
        return response

    return answer


def _refused(refusal: Refusal) -> Response:
    answer = error_response(refusal)
    response = Response(answer.body, answer.status, media_type="application/json")
    response.raw_headers.extend(PROTECTIVE)
    if isinstance(refusal, Unauthenticated):
        response.headers["www-authenticate"] = _CHALLENGE
    return response


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
