"""Calls of the demo for refusals on its page: a job of another user, and faults of the sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import httpx2

from proxy.errors import BadRequest, Unavailable
from proxy.strict_json import Json

_TIMEOUT = 10.0  # seconds; all of it is on this machine
# Faults by their names on the page. Each is for one request.
FAULTS: Mapping[str, Sequence[Json]] = {
    "locked": [{"kind": "locked", "action": "submit", "count": 1}],
    "slow-submit": [{"kind": "latency", "action": "submit", "delay": 2.0, "count": 1}],
}


class ExampleCalls:
    """Calls to the gateway at *url* with *token*, and to the sandbox's *control* origin.

    *endpoint* and *payload* are those of the job of another user.
    """

    def __init__(self, *, url: str, token: str, control: str, endpoint: str, payload: Json) -> None:
        self._url = url
        self._token = token
        self._control = control
        self._endpoint = endpoint
        self._payload = payload
        self._job: dict[str, Json] | None = None

    async def foreign_job(self) -> dict[str, Json]:
        """Returns `{endpoint, request_id}` of a job of the user of *token*, started at the first call.

        Raises Unavailable where the gateway does not start it.
        """
        if self._job is None:
            headers = {"authorization": f"Bearer {self._token}"}
            answer = await _send("POST", f"{self._url}/queue/{self._endpoint}", self._payload, headers)
            self._job = {"endpoint": self._endpoint, "request_id": answer.json()["request_id"]}
        return self._job

    async def set_fault(self, name: object) -> None:
        """Sets a fault of the sandbox. Raises BadRequest for an unknown name, Unavailable without a sandbox."""
        if not isinstance(name, str) or name not in FAULTS:
            raise BadRequest(f"fault must be one of {', '.join(FAULTS)}", error_type="unknown_fault")
        await _send("PUT", f"{self._control}/faults", list(FAULTS[name]), {})


async def _send(method: str, url: str, body: Json, headers: Mapping[str, str]) -> httpx2.Response:
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_TIMEOUT) as client:
            answer = await client.request(method, url, json=body, headers=headers)
        return answer.raise_for_status()
    except httpx2.HTTPError as error:
        raise Unavailable(reason=f"the demo's own call failed: {type(error).__name__}") from error
