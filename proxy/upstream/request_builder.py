"""Requests to fal for a grant: method, path and header fields, each rebuilt from what was parsed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from proxy.auth.authorization import Grant
from proxy.fal_api import headers
from proxy.fal_api.operations import Action
from proxy.http.client.messages import FieldLines, UpstreamRequest
from proxy.http.fields import Fields

# Method and path, formatted with the target and fal's id of the job. The path is rebuilt from what was parsed; the
# caller's own string never gets here.
PATHS: Mapping[Action, tuple[bytes, str]] = {
    Action.SUBMIT: (b"POST", "/{0.endpoint}"),
    Action.STATUS: (b"GET", "/{0.app}/requests/{1}/status"),
    Action.STATUS_STREAM: (b"GET", "/{0.app}/requests/{1}/status/stream"),
    Action.RESULT: (b"GET", "/{0.app}/requests/{1}"),
    Action.CANCEL: (b"PUT", "/{0.app}/requests/{1}/cancel"),
    Action.RUN: (b"POST", "/{0.endpoint}"),
    Action.RUN_STREAM: (b"POST", "/{0.endpoint}/stream"),
    Action.UPLOAD: (b"POST", "{0.path}"),
    Action.TOKEN: (b"POST", "{0.path}"),
}


class RequestBuilder:
    """Builder of requests. *authorization* is the value of that field on each: ours, never a caller's."""

    def __init__(self, authorization: bytes) -> None:
        def lines(action: Action, options: Fields) -> FieldLines:
            return FieldLines(headers.to_fal(action, authorization, options))

        # Callers send the same few options or none.
        self._lines = lru_cache(maxsize=256)(lines)

    def build(self, grant: Grant, body: bytes = b"", options: Fields = (), extra: str = "") -> UpstreamRequest:
        """Returns the request for *grant*. *extra* is a query parameter of our own beside those of the target."""
        target = grant.target
        method, template = PATHS[target.action]
        path = template.format(target, grant.upstream_id)
        if query := f"{target.query}&{extra}" if target.query and extra else target.query or extra:
            path = f"{path}?{query}"
        return UpstreamRequest(method, path.encode("ascii"), self._lines(target.action, options), body)

    def status(self, app: str, upstream_id: str) -> UpstreamRequest:
        """Returns the request for the status of a job, asked for by the gateway itself."""
        return self._own(Action.STATUS, f"/{app}/requests/{upstream_id}/status")

    def result(self, app: str, upstream_id: str) -> UpstreamRequest:
        """Returns the request for the result of a job, asked for by the gateway itself."""
        return self._own(Action.RESULT, f"/{app}/requests/{upstream_id}")

    def _own(self, action: Action, path: str) -> UpstreamRequest:
        return UpstreamRequest(b"GET", path.encode("ascii"), self._lines(action, ()), b"")
