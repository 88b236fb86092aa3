"""Presigned uploads: URLs that accept one file, whole or in parts, without a key."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from proxy.sandbox.files import FileHost, StoredFile
from proxy.sandbox.responses import infrastructure_error

MAX_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Upload:
    """One presigned upload.

    *expires*: unix seconds of the URL's end. *file_seconds*: lifetime of the file, None without end.
    """

    name: str
    content_type: str
    signature: str
    expires: float
    lifecycle: str | None
    file_seconds: float | None
    parts: dict[int, bytes] = field(default_factory=dict)


class Uploads:
    """Open uploads. *seconds*: how long a presigned URL is valid."""

    def __init__(self, origin: str, files: FileHost, *, seconds: float, clock: Callable[[], float]) -> None:
        self._origin = origin
        self._files = files
        self._seconds = seconds
        self._clock = clock
        self._open: dict[str, Upload] = {}

    def initiate(self, content_type: str, file_name: str, lifecycle: str | None) -> tuple[str, str]:
        """Returns the `upload_url` and the `file_url`. Raises FalError 400 for a malformed lifecycle."""
        now = self._clock()
        self._open = {name: upload for name, upload in self._open.items() if upload.expires > now}
        upload = Upload(
            name=self._files.new_name(file_name),
            content_type=content_type,
            signature=secrets.token_hex(16),
            expires=now + self._seconds,
            lifecycle=lifecycle,
            file_seconds=_parse_lifecycle(lifecycle),
        )
        self._open[upload.name] = upload
        url = f"{self._origin}/upload/{upload.name}?signature={upload.signature}"
        return url, self._files.url(upload.name)

    def find(self, name: str, signature: str | None) -> Upload:
        """Returns an open upload.

        Raises the same FalError 403 for a wrong signature, an unknown upload and an expired one.
        """
        upload = self._open.get(name)
        if upload is None or signature != upload.signature or self._clock() >= upload.expires:
            raise infrastructure_error(403, "The upload URL is invalid or expired")
        return upload

    def put(self, upload: Upload, content: bytes) -> None:
        """Stores the whole file. Its lifetime starts now."""
        expires = None if upload.file_seconds is None else self._clock() + upload.file_seconds
        self._files.put(upload.name, StoredFile(content, upload.content_type, expires, upload.lifecycle))

    def put_part(self, upload: Upload, number: int, content: bytes) -> str:
        """Stores a part and returns its etag. Raises FalError 400 for a number outside 1 to 10000."""
        if not 1 <= number <= MAX_PARTS:
            raise infrastructure_error(400, f"Part numbers go from 1 to {MAX_PARTS}")
        upload.parts[number] = content
        return _etag(content)

    def complete(self, upload: Upload, parts: Sequence[tuple[int, str]]) -> None:
        """Joins the parts.

        Raises FalError 400 unless *parts* lists exactly the uploaded ones by number and etag.
        """
        if not parts or sorted(parts) != sorted((number, _etag(part)) for number, part in upload.parts.items()):
            raise infrastructure_error(400, "The parts are not those that were uploaded")
        self.put(upload, b"".join(upload.parts[number] for number in sorted(upload.parts)))
        upload.parts.clear()

    def clear(self) -> None:
        """Invalidates every open upload."""
        self._open.clear()


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _parse_lifecycle(lifecycle: str | None) -> float | None:
    """Returns the seconds of a lifecycle, None without end (fal docs, media expiration)."""
    if lifecycle is None:
        return None
    try:
        preference = json.loads(lifecycle)
    except ValueError as exc:
        raise infrastructure_error(400, "X-Fal-Object-Lifecycle is not JSON") from exc
    seconds = preference.get("expiration_duration_seconds") if isinstance(preference, dict) else None
    return float(seconds) if isinstance(seconds, int | float) else None
