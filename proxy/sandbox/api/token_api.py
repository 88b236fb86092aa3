"""Token routes of rest.fal.ai, the older and the newer one (fal clients; fal docs, real-time)."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import AliasChoices, BaseModel, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.responses import FalResponse, new_id, read_payload
from proxy.sandbox.tokens import Tokens
from proxy.sandbox.validation import validate


class TokenRequest(BaseModel):
    """Body of a token request.

    Clients send `token_expiration`, the newer page has `duration`, and some callers send one `app`.
    """

    allowed_apps: list[str] = Field(min_length=1, validation_alias=AliasChoices("allowed_apps", "app"))
    seconds: float = Field(default=120, gt=0, validation_alias=AliasChoices("duration", "token_expiration"))

    @field_validator("allowed_apps", mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class TokenApi:
    """Route functions of the token routes."""

    accounts: Accounts
    tokens: Tokens

    async def mint(self, request: Request) -> Response:
        """Returns the token as a bare JSON string, the older route's answer."""
        return FalResponse(await self._mint(request), request_id=new_id())

    async def mint_realtime(self, request: Request) -> Response:
        """Returns the token in an object, the newer route's answer."""
        return FalResponse({"token": await self._mint(request)}, request_id=new_id())

    async def _mint(self, request: Request) -> str:
        account = self.accounts.authenticate(request.headers.getlist("authorization"))
        body = validate(TokenRequest, await read_payload(request))
        return self.tokens.mint(account, body.allowed_apps, body.seconds)
