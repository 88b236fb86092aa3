"""A FastAPI application that mounts the gateway, as an app of its own would."""

from __future__ import annotations

from fastapi import FastAPI

from proxy.app import create_app

app = FastAPI()
app.mount("/api/fal", create_app())


@app.get("/own")
def own() -> dict[str, str]:
    return {"page": "the app's own"}
