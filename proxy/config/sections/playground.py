"""The [playground] table: the page at `/`."""

from __future__ import annotations

from pydantic import Field

from proxy.config.value_types import OriginText, Section

FAL_MEDIA = ("https://v3.fal.media", "https://v3b.fal.media", "https://fal.media")

_WEB_URL = r"^https?://[!-~]+$"


class Playground(Section):
    """The page at `/`, on which a signed-in user can try the listed endpoints; on in `fal-proxy demo`."""

    enabled: bool = Field(default=False, description="Whether the page is served.")
    picture_hosts: tuple[OriginText, ...] = Field(
        default=FAL_MEDIA,
        description="Origins whose media the page may show (its Content-Security-Policy).",
    )
    upload_hosts: tuple[OriginText, ...] = Field(
        default=FAL_MEDIA, description="Origins that the page may send uploads to and save results from."
    )
    sandbox: bool = Field(default=False, description="Whether the page shows that no model runs here.")
    explain: bool = Field(
        default=False,
        description="Whether each response has the header `x-gateway-trace`: the steps that its request passed, for "
        "its own caller. The page shows them. For demos and development.",
    )
    docs_url: str | None = Field(
        default=None, pattern=_WEB_URL, description="Address of the documentation that the page links to."
    )
    source_url: str | None = Field(
        default=None, pattern=_WEB_URL, description="Address of the source code that the page links to."
    )

    @property
    def explains(self) -> bool:
        """True where requests are traced for their callers."""
        return self.enabled and self.explain
