"""Sessions of the app: tokens that the gateway accepts too, in a cookie or an Authorization field."""

from __future__ import annotations

import os
import time
from typing import Annotated

import jwt
from fastapi import Cookie, Header, HTTPException

COOKIE = "__Host-session"
LIFETIME = 12 * 3600  # seconds
ISSUER, AUDIENCE = "https://gallery.example.com", "fal-proxy"


def mint(name: str) -> str:
    """Returns a session token of the user *name*."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": name, "iat": now, "exp": now + LIFETIME}
    return jwt.encode(claims, os.environ["SESSION_SECRET"], algorithm="HS256")


def current_user(
    authorization: Annotated[str, Header()] = "", cookie: Annotated[str, Cookie(alias=COOKIE)] = ""
) -> str:
    """Returns the name of the signed-in user. Raises a 401 without a valid session."""
    token = authorization.removeprefix("Bearer ") or cookie
    try:
        claims = jwt.decode(token, os.environ["SESSION_SECRET"], algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
    except jwt.InvalidTokenError:
        raise HTTPException(401, "please sign in") from None
    return str(claims["sub"])
