from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """*expires* is unix seconds, None for ever; *lifecycle* is the `X-Fal-Object-Lifecycle` value it came with."""

    content: bytes
    content_type: str
    expires: float | None = None
    lifecycle: str | None = None


class FileHost:
    """The CDN: public files in memory, at most *capacity* bytes; the oldest make room."""

    def __init__(self, origin: str, *, capacity: int, clock: Callable[[], float]) -> None:
        self._origin = origin
        self._capacity = capacity
        self._clock = clock
        self._files: dict[str, StoredFile] = {}
        self._used = 0

    def new_name(self, file_name: str) -> str:
        return f"{secrets.token_hex(10)}_{_UNSAFE.sub('_', file_name)[-80:] or 'file'}"

    def url(self, name: str) -> str:
        return f"{self._origin}/files/{name}"

    def name_of(self, url: str) -> str | None:
        """The file's name where *url* is one of this host's, else None."""
        prefix = f"{self._origin}/files/"
        return url.removeprefix(prefix) if url.startswith(prefix) else None

    def put(self, name: str, file: StoredFile) -> None:
        self.drop(name)
        while self._files and self._used + len(file.content) > self._capacity:
            self.drop(next(iter(self._files)))
        self._files[name] = file
        self._used += len(file.content)

    def get(self, name: str) -> StoredFile | None:
        file = self._files.get(name)
        if file is not None and file.expires is not None and self._clock() >= file.expires:
            self.drop(name)
            return None
        return file

    def drop(self, name: str) -> None:
        if (file := self._files.pop(name, None)) is not None:
            self._used -= len(file.content)

    def clear(self) -> None:
        self._files.clear()
        self._used = 0
