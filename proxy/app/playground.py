"""Routes of the playground: the page at `/` and its files, from a fixed table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from importlib.metadata import PackageNotFoundError, distribution

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy import __version__
from proxy.app.page_files import FRESH, TEXT, answer_file, page_file, page_files
from proxy.auth.caller import Caller
from proxy.billing.shortfalls import rfc3339
from proxy.config.loader import Config
from proxy.config.sections.playground import Playground
from proxy.errors import Refusal
from proxy.http.request import REQUEST
from proxy.http.request import Request as GatewayRequest
from proxy.strict_json import Json

# Returns the caller of a request for a page. Raises a Refusal without a good session.
Authenticate = Callable[[GatewayRequest], Awaitable[Caller]]

PACKAGE = "fal-auth-proxy"
README = "/playground/readme.txt"


def playground_routes(config: Config, authenticate: Authenticate) -> Iterable[Route]:
    """Yields the routes of the playground, none where it is off. Raises OSError where a file is missing."""
    if not config.playground.enabled:
        return
    policy = content_security_policy(config.playground)
    for path, file in page_files().items():
        yield Route(path, answer_file(file, policy), methods=["GET"])

    readme, install = installed_package()

    async def describe(request: Request) -> Response:
        """Sends the settings of the page, and the user, which is null without a valid session."""
        facts: Json = {
            "version": __version__,
            "origin": config.server.public_origin,
            "prefix": config.server.prefix,
            "max_body_bytes": config.server.max_body_bytes,
            "picture_hosts": list(config.playground.picture_hosts),
            "upload_hosts": list(config.playground.upload_hosts),
            "sandbox": config.playground.sandbox,
            "docs_url": config.playground.docs_url,
            "source_url": config.playground.source_url,
            "readme_url": README if readme else None,
            "install": install,
            **_session(await _caller(authenticate, request.scope[REQUEST])),
        }
        return Response(orjson.dumps(facts), media_type="application/json")

    yield Route("/playground/config.json", describe, methods=["GET"])
    if readme:
        yield Route(README, answer_file(page_file(readme.encode(), TEXT, FRESH), policy), methods=["GET"])


def installed_package() -> tuple[str | None, str]:
    """Returns the README of the installed package, None without one, and the command to install it."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return None, "pip install ."
    # PEP 610: a package that came from an index has no such record. One from a folder may be on no index.
    from_index = package.read_text("direct_url.json") is None
    readme = package.metadata.json.get("description")
    return str(readme) if readme else None, f"pip install {PACKAGE}" if from_index else "pip install ."


async def _caller(authenticate: Authenticate, request: GatewayRequest) -> Caller | None:
    try:
        return await authenticate(request)
    except Refusal:
        return None


def _session(caller: Caller | None) -> dict[str, Json]:
    """Returns the user and the origin of the session for the page. Both are null without one."""
    if caller is None:
        return {"user": None, "session": None}
    audience = caller.claims.get("aud")
    return {
        "user": caller.subject,
        "session": {
            "issuer": caller.issuer,
            "audience": audience if isinstance(audience, str) else None,
            "subject": caller.subject,
            "scopes": list[Json](sorted(caller.scopes)),
            "expires_at": rfc3339(caller.expires),
        },
    }


def content_security_policy(playground: Playground) -> str:
    """Returns the Content-Security-Policy: the page's own files and the configured hosts."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "font-src 'self'",
            " ".join(["img-src 'self' data: blob:", *playground.picture_hosts]),
            " ".join(["media-src 'self' data: blob:", *playground.picture_hosts]),
            " ".join(["connect-src 'self'", *playground.upload_hosts]),
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )
