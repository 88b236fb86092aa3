"""Input files of a model call.

A file comes from a data URI, from the sandbox's own file host (an upload), or from an http URL on loopback. The sandbox
opens no connection to another host. Image-to-image, which repaints its input, answers a public URL such as
https://example.com/cat.png with `file_download_error`; models that answer by schema leave such a file unread.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import urllib.parse

import httpx2

from proxy.sandbox.files import FileHost


class DownloadError(Exception):
    """A file that cannot be read. The message is meant for the caller."""


def is_loopback(url: str) -> bool:
    """Returns True for an http URL without user name whose host is `localhost` or a loopback address."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "http" or parts.username is not None:
            return False
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class InputFiles:
    """Reader of input files, each at most *max_bytes* and, over HTTP, within *seconds*."""

    def __init__(self, files: FileHost, *, max_bytes: int, seconds: float) -> None:
        self._files = files
        self._max_bytes = max_bytes
        self._seconds = seconds

    def can_read(self, url: str) -> bool:
        """Returns True for a URL of one of the three sources, False for one that would be looked up elsewhere."""
        return url.startswith("data:") or self._files.parse_url(url) is not None or is_loopback(url)

    async def read(self, url: str) -> bytes:
        """Returns the content of *url*. Raises DownloadError."""
        if url.startswith("data:"):
            return _decode_data_uri(url)
        if (name := self._files.parse_url(url)) is not None:
            if (file := self._files.get(name)) is None:
                raise DownloadError("The sandbox's file host has no such file")
            return file.content
        if not is_loopback(url):
            raise DownloadError("The sandbox reads only data URIs, its own files and http URLs on loopback")
        return await self._download(url)

    async def _download(self, url: str) -> bytes:
        try:
            async with asyncio.timeout(self._seconds), self._client() as client, client.stream("GET", url) as response:
                if response.status_code != 200:
                    raise DownloadError(f"The URL answered {response.status_code}")
                return await self._read_response(response)
        except TimeoutError as exc:
            raise DownloadError(f"The URL took longer than {self._seconds:g} s") from exc
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise DownloadError(f"The URL could not be read: {type(exc).__name__}") from exc

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(timeout=None, follow_redirects=False, trust_env=False)

    async def _read_response(self, response: httpx2.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > self._max_bytes:
                raise DownloadError(f"The file is larger than {self._max_bytes} bytes")
        return bytes(content)


def _decode_data_uri(url: str) -> bytes:
    head, comma, data = url.partition(",")
    if not comma:
        raise DownloadError("The data URI has no comma")
    if not head.endswith(";base64"):
        return urllib.parse.unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as exc:
        raise DownloadError("The data URI is not base64") from exc
