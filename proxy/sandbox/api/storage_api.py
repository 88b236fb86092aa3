"""Storage routes of rest.fal.ai and of its CDN: initiate, the presigned PUT, parts, and the files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.files import FileHost
from proxy.sandbox.responses import FalError, FalResponse, new_id, read_payload
from proxy.sandbox.uploads import Upload, Uploads
from proxy.sandbox.validation import validate

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_FILE_HEADERS = {
    # Safari plays no video from a server without ranges.
    "accept-ranges": "bytes",
    "access-control-allow-origin": "*",
    # Any client can upload HTML: a browser must not run it.
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
}


class InitiateRequest(BaseModel):
    """Body of an initiate request."""

    content_type: str = Field(pattern=r"^[\w.+-]+/[\w.+-]+( *;[ -~]*)?$")
    file_name: str = Field(min_length=1)


class Part(BaseModel):
    """One uploaded part."""

    model_config = ConfigDict(extra="ignore")
    partNumber: int  # noqa: N815 - spelling of the protocol
    etag: str


class CompleteRequest(BaseModel):
    """Body that completes a multipart upload."""

    parts: list[Part]


@dataclass(frozen=True, slots=True)
class StorageApi:
    """Route functions of uploads and files."""

    accounts: Accounts
    uploads: Uploads
    files: FileHost

    async def initiate(self, request: Request) -> Response:
        """Opens an upload. Single and multipart uploads start alike; the following PUT decides between them."""
        self.accounts.authenticate(request.headers.getlist("authorization"))
        body = validate(InitiateRequest, await read_payload(request))
        upload_url, file_url = self.uploads.initiate(
            body.content_type, body.file_name, request.headers.get("x-fal-object-lifecycle")
        )
        return FalResponse({"upload_url": upload_url, "file_url": file_url}, request_id=new_id())

    async def put(self, request: Request) -> Response:
        """Stores a whole file."""
        self.uploads.put(self._upload(request), await request.body())
        return Response(status_code=200)

    async def put_part(self, request: Request) -> Response:
        """Stores one part, and returns its number and etag."""
        number: int = request.path_params["number"]
        etag = self.uploads.put_part(self._upload(request), number, await request.body())
        return FalResponse({"partNumber": number, "etag": etag}, request_id=new_id(), headers={"etag": etag})

    async def complete(self, request: Request) -> Response:
        """Joins the parts of an upload."""
        upload = self._upload(request)
        body = validate(CompleteRequest, await read_payload(request))
        self.uploads.complete(upload, [(part.partNumber, part.etag) for part in body.parts])
        return FalResponse({"file_url": self.files.url(upload.name)}, request_id=new_id())

    async def read(self, request: Request) -> Response:
        """Returns a file, or the one range that the request names (RFC 9110, section 14). Raises FalError 404."""
        if (file := self.files.get(request.path_params["name"])) is None:
            raise FalError(404, {"detail": "File not found"})
        size = len(file.content)
        part = _parse_range(request.headers.get("range", ""), size)
        if part is None:
            return Response(file.content, media_type=file.content_type, headers=_FILE_HEADERS)
        if not part:
            return Response(status_code=416, headers={**_FILE_HEADERS, "content-range": f"bytes */{size}"})
        content_range = f"bytes {part.start}-{part.stop - 1}/{size}"
        return Response(
            file.content[part.start : part.stop],
            206,
            headers={**_FILE_HEADERS, "content-range": content_range},
            media_type=file.content_type,
        )

    def _upload(self, request: Request) -> Upload:
        return self.uploads.find(request.path_params["name"], request.query_params.get("signature"))


def _parse_range(header: str, size: int) -> range | None:
    """Returns the positions of one byte range, empty where it lies outside, None for no or several ranges."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return range(max(0, size - int(match[2])), size)
    first, last = int(match[1]), int(match[2] or size - 1)
    if match[2] and last < first:
        return None
    return range(first, min(last + 1, size))
