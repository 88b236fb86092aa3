"""One cheap job through every operation of fal's API, with each answer as it came."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import httpx2

from proxy.fal_api.endpoint_ids import app_id
from proxy.strict_json import Json

JOB_SECONDS = 180.0  # until the job must have ended
_POLL = 0.5
_UPLOAD = b"a file of a contract check"
# Header fields that callers of fal read.
_READ_BY_CLIENTS = frozenset({"x-fal-request-id", "x-fal-error-type", "retry-after"})


@dataclass(frozen=True)
class Answer:
    """Answer to one step. *body* is None where it is no JSON; *headers* are those that clients read."""

    step: str
    status: int
    media_type: str
    headers: frozenset[str]
    body: Json


@dataclass
class ContractCalls:
    """Caller of fal, or of a sandbox, at the three origins. *key* goes to these alone.

    *answers* has the steps so far, also where a later one raises httpx2.TransportError.
    """

    http: httpx2.AsyncClient
    queue: str
    rest: str
    key: str
    answers: list[Answer] = field(default_factory=list)

    async def run(self, endpoint: str, payload: Json) -> None:
        """Makes all calls in order. Raises httpx2.TransportError and TimeoutError."""
        submitted = await self._call("submit", "POST", f"{self.queue}/{endpoint}", payload)
        if isinstance(submitted, dict) and isinstance(submitted.get("request_id"), str):
            await self._follow(f"{self.queue}/{app_id(endpoint)}/requests/{submitted['request_id']}")
        await self._call("unknown job", "GET", f"{self.queue}/{app_id(endpoint)}/requests/{uuid4()}/status")
        announced = await self._call(
            "upload",
            "POST",
            f"{self.rest}/storage/upload/initiate?storage_type=fal-cdn-v3",
            {"content_type": "text/plain", "file_name": "contract.txt"},
        )
        if isinstance(announced, dict) and isinstance(announced.get("upload_url"), str):
            await self._put(str(announced["upload_url"]))

    async def _follow(self, job: str) -> None:
        await self._call("status, unfinished", "GET", f"{job}/status?logs=1")
        await self._stream(f"{job}/status/stream?logs=1")
        end = time.monotonic() + JOB_SECONDS
        while await self._state(job) != "COMPLETED":
            if time.monotonic() > end:
                raise TimeoutError(f"the job did not end in {JOB_SECONDS:.0f} s")
            await asyncio.sleep(_POLL)
        await self._call("status, finished", "GET", f"{job}/status?logs=1")
        await self._call("result", "GET", job)
        await self._call("cancel, finished", "PUT", f"{job}/cancel")

    async def _state(self, job: str) -> Json:
        """Returns the state of the job, COMPLETED where the answer has none: the next steps show what it is."""
        answer = await self.http.get(f"{job}/status", headers=self._headers())
        body = _json(answer)
        return body.get("status", "COMPLETED") if isinstance(body, dict) else "COMPLETED"

    async def _call(self, step: str, method: str, url: str, body: Json = None) -> Json:
        answer = await self.http.request(method, url, headers=self._headers(), json=body)
        return self._record(step, answer, _json(answer))

    async def _stream(self, url: str) -> None:
        """Reads the events to the end; the body of the answer is the last one."""
        async with asyncio.timeout(JOB_SECONDS), self.http.stream("GET", url, headers=self._headers()) as answer:
            events = [line.removeprefix("data:") async for line in answer.aiter_lines() if line.startswith("data:")]
        self._record("stream", answer, _parsed(events[-1]) if events else None)

    async def _put(self, url: str) -> None:
        answer = await self.http.put(url, content=_UPLOAD, headers={"content-type": "text/plain"})
        self._record("upload, put", answer, None)

    def _record(self, step: str, answer: httpx2.Response, body: Json) -> Json:
        names = frozenset(name.lower() for name in answer.headers) & _READ_BY_CLIENTS
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        self.answers.append(Answer(step, answer.status_code, media_type, names, body))
        return body

    def _headers(self) -> Mapping[str, str]:
        return {"authorization": f"Key {self.key}", "accept": "application/json, text/event-stream"}


def _json(answer: httpx2.Response) -> Json:
    return _parsed(answer.text)


def _parsed(text: str) -> Json:
    try:
        parsed: Json = json.loads(text)
    except json.JSONDecodeError:
        return None
    return parsed
