"""rest.fal.ai/storage and the CDN behind it: initiate, the presigned PUT, parts, and the files themselves."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.files import FileHost
from proxy.sandbox.replies import FalError, Reply, new_id, payload_of
from proxy.sandbox.uploads import Upload, Uploads
from proxy.sandbox.validation import validated

_FILE_HEADERS = {
    "access-control-allow-origin": "*",
    # Uploads are anyone's: shown, never run.
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
}


class InitiateRequest(BaseModel):
    content_type: str = Field(pattern=r"^[\w.+-]+/[\w.+-]+( *;[ -~]*)?$")
    file_name: str = Field(min_length=1)


class Part(BaseModel):
    model_config = ConfigDict(extra="ignore")
    partNumber: int  # noqa: N815 - the wire's spelling
    etag: str


class CompleteRequest(BaseModel):
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class StorageApi:
    accounts: Accounts
    uploads: Uploads
    files: FileHost

    async def initiate(self, request: Request) -> Response:
        """Both kinds of upload start alike; what is PUT where decides between them."""
        self.accounts.account(request.headers.getlist("authorization"))
        wanted = validated(InitiateRequest, await payload_of(request))
        upload_url, file_url = self.uploads.initiate(
            wanted.content_type, wanted.file_name, request.headers.get("x-fal-object-lifecycle")
        )
        return Reply({"upload_url": upload_url, "file_url": file_url}, request_id=new_id())

    async def put(self, request: Request) -> Response:
        self.uploads.put(self._upload(request), await request.body())
        return Response(status_code=200)

    async def put_part(self, request: Request) -> Response:
        number: int = request.path_params["number"]
        etag = self.uploads.put_part(self._upload(request), number, await request.body())
        return Reply({"partNumber": number, "etag": etag}, request_id=new_id(), headers={"etag": etag})

    async def complete(self, request: Request) -> Response:
        upload = self._upload(request)
        wanted = validated(CompleteRequest, await payload_of(request))
        self.uploads.complete(upload, [(part.partNumber, part.etag) for part in wanted.parts])
        return Reply({"file_url": self.files.url(upload.name)}, request_id=new_id())

    async def read(self, request: Request) -> Response:
        if (file := self.files.get(request.path_params["name"])) is None:
            raise FalError(404, {"detail": "File not found"})
        return Response(file.content, media_type=file.content_type, headers=_FILE_HEADERS)

    def _upload(self, request: Request) -> Upload:
        return self.uploads.find(request.path_params["name"], request.query_params.get("signature"))
