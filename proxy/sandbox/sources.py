"""Where an input picture comes from: a data URI, the sandbox's own file host, or a loopback URL. Nowhere else."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import urllib.parse

import httpx2

from proxy.sandbox.files import FileHost


class DownloadFailed(Exception):
    """The message is for the caller."""


def is_loopback(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "http" or parts.username is not None:
            return False
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Sources:
    def __init__(self, files: FileHost, *, max_bytes: int, seconds: float) -> None:
        self._files = files
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def read(self, url: str) -> bytes:
        """The bytes behind *url*. Raises DownloadFailed."""
        if url.startswith("data:"):
            return _data_uri(url)
        if (name := self._files.name_of(url)) is not None:
            if (file := self._files.get(name)) is None:
                raise DownloadFailed("The sandbox's file host has no such file")
            return file.content
        if not is_loopback(url):
            raise DownloadFailed("The sandbox reads only data URIs, its own files and http URLs on loopback")
        return await self._download(url)

    async def _download(self, url: str) -> bytes:
        try:
            async with asyncio.timeout(self._seconds), self._client() as client, client.stream("GET", url) as answer:
                if answer.status_code != 200:
                    raise DownloadFailed(f"The URL answered {answer.status_code}")
                return await self._collected(answer)
        except TimeoutError as exc:
            raise DownloadFailed(f"The URL took longer than {self._seconds:g} s") from exc
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise DownloadFailed(f"The URL could not be read: {type(exc).__name__}") from exc

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(timeout=None, follow_redirects=False, trust_env=False)

    async def _collected(self, answer: httpx2.Response) -> bytes:
        content = bytearray()
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > self._max_bytes:
                raise DownloadFailed(f"The file is larger than {self._max_bytes} bytes")
        return bytes(content)


def _data_uri(url: str) -> bytes:
    head, comma, data = url.partition(",")
    if not comma:
        raise DownloadFailed("The data URI has no comma")
    if not head.endswith(";base64"):
        return urllib.parse.unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as exc:
        raise DownloadFailed("The data URI is not base64") from exc
