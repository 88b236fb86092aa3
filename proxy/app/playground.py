"""Routes of the playground: the page at `/` and its files, from a fixed table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proxy import __version__
from proxy.auth.caller import Caller
from proxy.config.loader import Config
from proxy.config.sections.playground import Playground
from proxy.errors import Refusal
from proxy.http.fields import first
from proxy.http.request import REQUEST
from proxy.http.request import Request as GatewayRequest
from proxy.strict_json import Json

PAGES = Path(__file__).parents[1] / "playground"

_HTML, _STYLE, _SCRIPT = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
_FONT, _JPEG, _SVG, _TEXT = "font/woff2", "image/jpeg", "image/svg+xml", "text/plain; charset=utf-8"

# Revalidated each time and answered by 304: a page and its scripts must be of one release.
_FRESH = "no-cache"
# The address has the version in it, or a name that is not used again.
_FOR_GOOD = "public, max-age=31536000, immutable"

# All paths that are served. No folder is searched, so that no path can lead out of one.
FILES: Mapping[str, tuple[str, str, str]] = {
    "/": ("index.html", _HTML, _FRESH),
    "/playground/style.css": ("style.css", _STYLE, _FRESH),
    "/playground/icon.svg": ("icon.svg", _SVG, _FRESH),
    **{
        f"/playground/{name}.js": (f"{name}.js", _SCRIPT, _FRESH)
        for name in (
            "before_after",
            "choice_field",
            "code_panel",
            "code_samples",
            "dom",
            "error_messages",
            "fal_job",
            "field_factory",
            "field_wrapper",
            "form",
            "history",
            "image_field",
            "job_controller",
            "main",
            "number_field",
            "quota_panel",
            "result_view",
            "schema",
            "session",
            "sign_in",
            "theme",
        )
    },
    **{
        f"/playground/samples/{name}.jpg": (f"samples/{name}.jpg", _JPEG, _FOR_GOOD)
        for name in ("coast", "dunes", "ridge")
    },
    "/playground/vendor/fal-client-1.10.1.js": ("vendor/fal-client-1.10.1.js", _SCRIPT, _FOR_GOOD),
    "/playground/vendor/geist-5.3.0.woff2": ("vendor/geist-5.3.0.woff2", _FONT, _FOR_GOOD),
    "/playground/vendor/geist-mono-5.3.0.woff2": ("vendor/geist-mono-5.3.0.woff2", _FONT, _FOR_GOOD),
    "/playground/vendor/LICENSES.txt": ("vendor/LICENSES.txt", _TEXT, _FRESH),
}

# Returns the caller of a request for a page. Raises a Refusal without a good session.
Authenticate = Callable[[GatewayRequest], Awaitable[Caller]]


def playground_routes(config: Config, authenticate: Authenticate) -> Iterable[Route]:
    """Yields the routes of the playground, none where it is off. Raises OSError where a file is missing."""
    if not config.playground.enabled:
        return
    policy = content_security_policy(config.playground)
    for path, (name, media_type, caching) in FILES.items():
        yield Route(path, _file((PAGES / name).read_bytes(), media_type, caching, policy), methods=["GET"])

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
            "user": await _user(authenticate, request.scope[REQUEST]),
        }
        return Response(orjson.dumps(facts), media_type="application/json")

    yield Route("/playground/config.json", describe, methods=["GET"])


async def _user(authenticate: Authenticate, request: GatewayRequest) -> str | None:
    try:
        return (await authenticate(request)).subject
    except Refusal:
        return None


def content_security_policy(playground: Playground) -> str:
    """Returns the Content-Security-Policy: the page's own files and the configured hosts."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "font-src 'self'",
            " ".join(["img-src 'self' data: blob:", *playground.picture_hosts]),
            " ".join(["connect-src 'self'", *playground.upload_hosts]),
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _file(body: bytes, media_type: str, caching: str, policy: str) -> Callable[[Request], Awaitable[Response]]:
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    fields = {
        "etag": tag,
        "cache-control": caching,
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        # The origin decides the CORS fields; the rest is the same for all callers.
        "vary": "Origin",
    }

    async def answer(request: Request) -> Response:
        known = first(request.scope["headers"], b"if-none-match")
        if known is not None and tag.encode("ascii") in known:
            return Response(status_code=304, headers=fields)
        return Response(body, media_type=media_type, headers=fields)

    return answer
