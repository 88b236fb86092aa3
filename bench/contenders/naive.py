"""The proxy one writes first: Starlette, PyJWT, an httpx client.

A session and an allow-list; no limit, no schema.

Its own virtual environment runs it (`bench/requirements.txt`); sniffio is there because httpcore costs half as much
again without it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ENDPOINT = os.environ["ENDPOINT"]
APP = "/".join(ENDPOINT.split("/")[:2])


def allowed(method: str, path: str) -> bool:
    return path == f"/{ENDPOINT}" if method == "POST" else path.startswith(f"/{APP}/requests/")


async def proxy(request: Request) -> Response:
    try:
        jwt.decode(
            request.headers.get("authorization", "").removeprefix("Bearer "),
            os.environ["SESSION_SECRET"],
            algorithms=["HS256"],
            issuer=os.environ["ISSUER"],
            audience=os.environ["AUDIENCE"],
            options={"require": ["exp", "sub"]},
        )
    except jwt.PyJWTError:
        return JSONResponse({"detail": "Unauthorized"}, 401)
    target = urlsplit(request.headers.get("x-fal-target-url", ""))
    if target.netloc != "queue.fal.run" or not allowed(request.method, target.path):
        return JSONResponse({"detail": "Not allowed"}, 403)
    client: httpx.AsyncClient = request.app.state.client
    answer = await client.request(
        request.method,
        f"{os.environ['UPSTREAM']}{target.path}?{target.query}",
        content=await request.body(),
        headers={"authorization": f"Key {os.environ['FAL_KEY']}", "content-type": "application/json"},
    )
    return Response(answer.content, answer.status_code, media_type="application/json")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    trust = ssl.create_default_context(cafile=os.environ["CA_FILE"])
    # By default 20 connections are kept: with 32 callers, some requests would pay for a handshake.
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    async with httpx.AsyncClient(verify=trust, limits=limits, timeout=30) as client:
        app.state.client = client
        yield


app = Starlette(routes=[Route("/api/fal/proxy", proxy, methods=["GET", "POST"])], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False, log_level="warning")
