"""Identity provider for tests: signs tokens, publishes and rotates keys, and fails as real ones do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from support.hostile_tokens import Material, dumps, key_pair

from proxy.strict_json import Json


@cache
def spare_pair(algorithm: str, name: str) -> tuple[bytes, bytes]:
    """Returns a key pair; the same one for the same name, since RSA keys take long to make."""
    return key_pair(algorithm)


@dataclass
class SigningKey:
    """Key pair with its id."""

    algorithm: str
    kid: str
    private: bytes
    public: bytes

    @property
    def jwk(self) -> dict[str, Json]:
        """The public key as a provider publishes it."""
        key = jwt.get_algorithm_by_name(self.algorithm).prepare_key(self.public)
        jwk: dict[str, Json] = jwt.get_algorithm_by_name(self.algorithm).to_jwk(key, as_dict=True)
        return {**jwk, "kid": self.kid, "alg": self.algorithm, "use": "sig"}


def signing_key(algorithm: str, kid: str) -> SigningKey:
    private, public = spare_pair(algorithm, kid)
    return SigningKey(algorithm, kid, private, public)


@dataclass
class IdentityProvider:
    """Provider at *issuer*.

    *fault* answers a request for the keys in place of the set; *fetches* counts requests.
    """

    issuer: str
    keys: list[SigningKey]
    fault: Callable[[], Response] | None = None
    delay: float = 0.0
    fetches: int = 0
    published: list[SigningKey] = field(init=False)

    def __post_init__(self) -> None:
        self.published = list(self.keys)

    @property
    def jwks(self) -> dict[str, Json]:
        return {"keys": [key.jwk for key in self.published]}

    def rotate(self, key: SigningKey) -> None:
        """Signs with *key* from now on; the old ones stay published."""
        self.keys = [key]
        self.published.append(key)

    def token(self, subject: str = "alice", *, header: dict[str, Json] | None = None, **claims: Json) -> str:
        """Returns a token of *subject* for ten minutes; a claim of None is left out."""
        now = int(time.time())
        payload = {"iss": self.issuer, "aud": "fal-proxy", "sub": subject, "iat": now, "exp": now + 600, **claims}
        key = self.keys[-1]
        material = Material(key.algorithm, key.private, key.public, self.issuer, "fal-proxy", now)
        merged = {"alg": key.algorithm, "typ": "JWT", "kid": key.kid, **(header or {})}
        parts = ({name: value for name, value in part.items() if value is not None} for part in (merged, payload))
        return material.raw(*map(dumps, parts)).decode()

    async def answer(self, request: Request) -> Response:
        self.fetches += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        return Response(json.dumps(self.jwks)) if self.fault is None else self.fault()

    async def configuration(self, request: Request) -> Response:
        return Response(json.dumps({"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"}))

    @property
    def app(self) -> Starlette:
        """The provider as an ASGI application."""
        return Starlette(
            routes=[
                Route("/keys", self.answer),
                Route("/.well-known/openid-configuration", self.configuration),
            ]
        )


FAULTS: dict[str, Callable[[], Response]] = {
    "down": lambda: Response("away", 503),
    "garbage": lambda: Response("<html>"),
    "not-a-set": lambda: Response('{"error": "server_error"}'),
    "empty-set": lambda: Response('{"keys": []}'),
    "ten-megabytes": lambda: Response('{"keys": [' + " " * 10_000_000 + "]}"),
    "redirect": lambda: Response("", 302, {"location": "http://127.0.0.1:9/keys"}),
    "duplicate-kid": lambda: Response(
        json.dumps({"keys": [signing_key("ES256", "a").jwk, {**signing_key("ES256", "b").jwk, "kid": "a"}]})
    ),
    "too-many": lambda: Response(json.dumps({"keys": [signing_key("ES256", "a").jwk] * 101})),
    "no-content": lambda: Response("", 200),
}
