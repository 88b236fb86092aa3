"""App with the gateway inside: sign-in, the mounted gateway, and the results by webhook."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from pydantic import BaseModel, Field

from gallery.pictures import Pictures
from gallery.sessions import COOKIE, LIFETIME, current_user, mint
from gallery.webhooks import Event, verified_event
from proxy.app import create_app
from proxy.config.loader import Config

User = Annotated[str, Depends(current_user)]


class Login(BaseModel):
    """Body of a sign-in. An app checks a password or a passkey too."""

    name: str = Field(min_length=1, max_length=64)


def build(config: Config | Path | None = None) -> FastAPI:
    """Builds the app, for `uvicorn --factory gallery.app:build`.

    Without *config* the gateway reads `./fal-proxy.toml`.
    """
    gateway = create_app(config)
    pictures = Pictures()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # FastAPI does not run the lifespan of what it mounts; without this the first request starts the gateway.
        async with gateway.router.lifespan_context(gateway):
            yield

    app = FastAPI(title="Gallery", lifespan=lifespan)
    app.mount("/api/fal", gateway)

    @app.post("/login")
    def login(body: Login, response: Response) -> dict[str, str]:
        """Signs in: a cookie for browsers, the same token for phones and scripts."""
        token = mint(body.name)
        response.set_cookie(COOKIE, token, max_age=LIFETIME, httponly=True, secure=True, samesite="lax")
        return {"token": token}

    @app.post("/logout", status_code=204)
    def logout(response: Response) -> None:
        response.delete_cookie(COOKIE, httponly=True, secure=True, samesite="lax")

    @app.get("/pictures")
    def list_pictures(user: User) -> list[str]:
        """Lists the addresses of the user's finished pictures."""
        return pictures.of_user(user)

    @app.post("/hooks/fal", status_code=204)
    def finished(event: Annotated[Event, Depends(verified_event)], request: Request) -> None:
        """Stores the result of a job that ended, also of one whose page was closed."""
        pictures.add(event, delivery=request.headers["webhook-id"])

    return app
