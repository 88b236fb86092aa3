"""rest.fal.ai/tokens: both generations of the mint (fal clients; fal docs, real-time)."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import AliasChoices, BaseModel, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.replies import Reply, new_id, payload_of
from proxy.sandbox.tokens import Tokens
from proxy.sandbox.validation import validated


class TokenRequest(BaseModel):
    """The clients say `token_expiration`, the newer page `duration`; some callers send one `app`."""

    allowed_apps: list[str] = Field(min_length=1, validation_alias=AliasChoices("allowed_apps", "app"))
    seconds: float = Field(default=120, gt=0, validation_alias=AliasChoices("duration", "token_expiration"))

    @field_validator("allowed_apps", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class TokenApi:
    accounts: Accounts
    tokens: Tokens

    async def mint(self, request: Request) -> Response:
        """The older mint answers a bare JSON string."""
        return Reply(await self._minted(request), request_id=new_id())

    async def mint_realtime(self, request: Request) -> Response:
        return Reply({"token": await self._minted(request)}, request_id=new_id())

    async def _minted(self, request: Request) -> str:
        account = self.accounts.account(request.headers.getlist("authorization"))
        wanted = validated(TokenRequest, await payload_of(request))
        return self.tokens.mint(account, wanted.allowed_apps, wanted.seconds)
