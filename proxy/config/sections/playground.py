"""The [playground] table: the page at `/`."""

from __future__ import annotations

from proxy.config.value_types import OriginText, Section

FAL_MEDIA = ("https://v3.fal.media", "https://v3b.fal.media", "https://fal.media")


class Playground(Section):
    """The page at `/` that shows what a caller can do; on in `fal-proxy demo`. It shows pictures of *picture_hosts*,
    and sends uploads to, and saves results from, *upload_hosts*. *sandbox* says on it that no model runs here.
    """

    enabled: bool = False
    picture_hosts: tuple[OriginText, ...] = FAL_MEDIA
    upload_hosts: tuple[OriginText, ...] = FAL_MEDIA
    sandbox: bool = False
