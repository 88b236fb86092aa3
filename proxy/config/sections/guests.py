"""The [guests] and [revocation] tables: sessions of anonymous visitors, and their early end."""

from __future__ import annotations

from pydantic import Field, JsonValue

from proxy.config.value_types import DAY, HOUR, Section


class GuestsSection(Section):
    """Sessions that the gateway gives to anonymous visitors by `POST …/session`.

    They need a `[[budgets]]` table with `per = "global"` that covers every endpoint: addresses and cookies are cheap.
    """

    enabled: bool = Field(default=False, description="Turns guest sessions on.")
    lifetime_seconds: int = Field(default=HOUR, ge=60, le=DAY, description="Life of a guest's token.")
    claims: dict[str, JsonValue] = Field(
        default={"plan": "guest"},
        description="Claims of every guest, by which tiers, `allow` and scopes give guests a plan of their own.",
    )
    proof_env: str | None = Field(
        default=None,
        description="Environment variable that holds a secret of the app's backend, 32 bytes or more. "
        "With it a guest session takes a proof that the backend has made.",
    )


class RevocationSection(Section):
    """Early end of sessions: by `DELETE …/session`, and by `fal-proxy user revoke`."""

    enabled: bool = Field(
        default=True,
        description="Looks for revoked sessions every half second, in the store, else in a file beside the ledger.",
    )
