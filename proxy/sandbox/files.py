"""File host of the sandbox, in place of fal's CDN."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Content of one file.

    *expires*: unix seconds, None without end. *lifecycle*: the `X-Fal-Object-Lifecycle` value of its upload.
    """

    content: bytes
    content_type: str
    expires: float | None = None
    lifecycle: str | None = None


class FileHost:
    """Public files in memory, at most *capacity* bytes. The oldest files are deleted for new ones."""

    def __init__(self, origin: str, *, capacity: int, clock: Callable[[], float]) -> None:
        self._origin = origin
        self._capacity = capacity
        self._clock = clock
        self._files: dict[str, StoredFile] = {}
        self._used = 0

    def new_name(self, file_name: str) -> str:
        """Returns a random name that ends with the safe characters of *file_name*."""
        return f"{secrets.token_hex(10)}_{_UNSAFE.sub('_', file_name)[-80:] or 'file'}"

    def url(self, name: str) -> str:
        """Returns the URL of the file *name*."""
        return f"{self._origin}/files/{name}"

    def parse_url(self, url: str) -> str | None:
        """Returns the file name in a URL of this host, None for other URLs."""
        prefix = f"{self._origin}/files/"
        return url.removeprefix(prefix) if url.startswith(prefix) else None

    def put(self, name: str, file: StoredFile) -> None:
        """Stores *file*, replacing one of the same name."""
        self.delete(name)
        while self._files and self._used + len(file.content) > self._capacity:
            self.delete(next(iter(self._files)))
        self._files[name] = file
        self._used += len(file.content)

    def get(self, name: str) -> StoredFile | None:
        """Returns the file, None where it is unknown or expired."""
        file = self._files.get(name)
        if file is not None and file.expires is not None and self._clock() >= file.expires:
            self.delete(name)
            return None
        return file

    def delete(self, name: str) -> None:
        """Deletes a file. An unknown name changes nothing."""
        if (file := self._files.pop(name, None)) is not None:
            self._used -= len(file.content)

    def clear(self) -> None:
        """Deletes every file."""
        self._files.clear()
        self._used = 0
