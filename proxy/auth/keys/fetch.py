"""Fetch of key documents: bounded in size and time, without redirects, never in the clear."""

from __future__ import annotations

import re
import ssl

import httpx2

from proxy import __version__, strict_json
from proxy.errors import MalformedJson
from proxy.http.origin import Origin

TIMEOUT = 5.0  # seconds for one document

_AGENT = f"fal-auth-proxy/{__version__}"
_URL = re.compile(r"(https?://[^/?#@\s]+)(/[!-\"$-~]*)?", re.ASCII)


def check_key_url(url: str) -> str:
    """Returns *url* if keys may be fetched from it: https, or http to a loopback host. Raises ValueError."""
    match = _URL.fullmatch(url)
    if match is None or len(url) > 2048:
        raise ValueError("must be an https URL without user, fragment and blanks")
    Origin.parse(match[1])
    return url


async def fetch_document(url: str, *, tls: ssl.SSLContext, max_bytes: int) -> bytes:
    """Returns the body at *url*, at most *max_bytes*.

    Follows no redirect and reads no proxy from the environment.

    Raises httpx2.HTTPError and ValueError. The time of the whole is for the caller to bound.
    """
    fields = {"accept": "application/json", "accept-encoding": "identity", "user-agent": _AGENT}
    async with (
        httpx2.AsyncClient(verify=tls, timeout=TIMEOUT, trust_env=False, headers=fields) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != 200:
            raise ValueError(f"the source answered {response.status_code}")
        document = bytearray()
        async for part in response.aiter_raw():
            document += part
            if len(document) > max_bytes:
                raise ValueError("the set is too large")
    return bytes(document)


def jwks_url_from_discovery(document: bytes, issuer: str) -> str:
    """Returns the `jwks_uri` of an OpenID configuration (OpenID Connect Discovery 1.0 section 3).

    Raises ValueError where the document is not that of *issuer*: its keys would sign for another one's users.
    """
    try:
        metadata = strict_json.parse(document, max_depth=8, max_nodes=5_000)
    except MalformedJson as error:
        raise ValueError(f"the OpenID configuration is not strict JSON: {error}") from None
    if not isinstance(metadata, dict) or metadata.get("issuer") != issuer:
        raise ValueError("the OpenID configuration is not that of the issuer")
    url = metadata.get("jwks_uri")
    if not isinstance(url, str):
        raise ValueError("the OpenID configuration has no jwks_uri")  # noqa: TRY004 a fault of the document
    return check_key_url(url)
