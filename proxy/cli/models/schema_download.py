"""Download of fal's public model documents. No key is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click
import httpx2

from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.http.hosts import is_loopback

BASE_URL = "https://fal.ai"
# fal docs: the OpenAPI document of one endpoint, as the page of the model links it.
_PATH = "/api/openapi/queue/openapi.json"
_SECONDS = 30.0
_MAX_BYTES = 16 * 1024 * 1024


def download(endpoints: Iterable[str], base_url: str) -> Iterator[tuple[str, bytes]]:
    """Yields each of *endpoints* with its document. Raises ClickException for the first failure."""
    url = httpx2.URL(base_url)
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise click.UsageError("--base-url must be https, or http on a loopback host")
    with httpx2.Client(base_url=url, timeout=_SECONDS, follow_redirects=False) as client:
        for endpoint in endpoints:
            yield endpoint, _fetch(client, endpoint)


def _fetch(client: httpx2.Client, endpoint: str) -> bytes:
    try:
        endpoint_id(endpoint)
    except ValueError as error:
        raise click.ClickException(f"{endpoint}: is {error}") from error
    body = bytearray()
    try:
        with client.stream("GET", _PATH, params={"endpoint_id": endpoint}) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise click.ClickException(f"{endpoint}: the document is larger than {_MAX_BYTES >> 20} MiB")
    except httpx2.HTTPError as error:
        raise click.ClickException(f"{endpoint}: cannot be fetched from {client.base_url}: {error}") from error
    if response.status_code == 404 or bytes(body).strip() == b"null":
        raise click.ClickException(f"{endpoint}: fal has no document for this endpoint")
    if response.status_code != 200:
        raise click.ClickException(f"{endpoint}: fal answered {response.status_code}")
    return bytes(body)
