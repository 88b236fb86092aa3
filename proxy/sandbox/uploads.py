"""Presigned uploads: a URL that takes one file, whole or in parts, for a short time and without a key."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from proxy.sandbox.files import FileHost, StoredFile
from proxy.sandbox.replies import infrastructure

MAX_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Upload:
    """*expires*: when the URL dies; *keep*: how long the file then lives, in seconds, None for ever."""

    name: str
    content_type: str
    signature: str
    expires: float
    lifecycle: str | None
    keep: float | None
    parts: dict[int, bytes] = field(default_factory=dict)


class Uploads:
    def __init__(self, origin: str, files: FileHost, *, seconds: float, clock: Callable[[], float]) -> None:
        self._origin = origin
        self._files = files
        self._seconds = seconds
        self._clock = clock
        self._open: dict[str, Upload] = {}

    def initiate(self, content_type: str, file_name: str, lifecycle: str | None) -> tuple[str, str]:
        """The `upload_url` and the `file_url`. Raises FalError 400 for a lifecycle that is none."""
        now = self._clock()
        self._open = {name: upload for name, upload in self._open.items() if upload.expires > now}
        upload = Upload(
            name=self._files.new_name(file_name),
            content_type=content_type,
            signature=secrets.token_hex(16),
            expires=now + self._seconds,
            lifecycle=lifecycle,
            keep=_keep(lifecycle),
        )
        self._open[upload.name] = upload
        url = f"{self._origin}/upload/{upload.name}?signature={upload.signature}"
        return url, self._files.url(upload.name)

    def find(self, name: str, signature: str | None) -> Upload:
        """Raises FalError 403 alike for a wrong signature, an unknown upload and one that expired."""
        upload = self._open.get(name)
        if upload is None or signature != upload.signature or self._clock() >= upload.expires:
            raise infrastructure(403, "The upload URL is not valid, or not any more")
        return upload

    def put(self, upload: Upload, content: bytes) -> None:
        expires = None if upload.keep is None else self._clock() + upload.keep
        self._files.put(upload.name, StoredFile(content, upload.content_type, expires, upload.lifecycle))

    def put_part(self, upload: Upload, number: int, content: bytes) -> str:
        """The part's etag. Raises FalError 400 for a part number outside 1 to 10000."""
        if not 1 <= number <= MAX_PARTS:
            raise infrastructure(400, f"Part numbers go from 1 to {MAX_PARTS}")
        upload.parts[number] = content
        return _etag(content)

    def complete(self, upload: Upload, parts: Sequence[tuple[int, str]]) -> None:
        """Joins the parts. Raises FalError 400 unless *parts* names just those that came, by number and etag."""
        if not parts or sorted(parts) != sorted((number, _etag(part)) for number, part in upload.parts.items()):
            raise infrastructure(400, "The parts are not those that were uploaded")
        self.put(upload, b"".join(upload.parts[number] for number in sorted(upload.parts)))
        upload.parts.clear()

    def clear(self) -> None:
        self._open.clear()


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _keep(lifecycle: str | None) -> float | None:
    """fal docs, media expiration: `{"expiration_duration_seconds": n}`, null for ever."""
    if lifecycle is None:
        return None
    try:
        wanted = json.loads(lifecycle)
    except ValueError as exc:
        raise infrastructure(400, "X-Fal-Object-Lifecycle is not JSON") from exc
    seconds = wanted.get("expiration_duration_seconds") if isinstance(wanted, dict) else None
    return float(seconds) if isinstance(seconds, int | float) else None
