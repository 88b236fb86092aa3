"""What is sent to fal for a grant: method, path and fields, each rebuilt from what was parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from proxy.auth.authorization import Grant
from proxy.fal_api import headers
from proxy.fal_api.operations import Action
from proxy.http.client.messages import FieldLines, UpstreamRequest
from proxy.http.fields import Fields


def _of_job(end: str) -> Callable[[Grant], str]:
    return lambda grant: f"/{grant.target.app}/requests/{grant.upstream_id}{end}"


# Rebuilt from what was parsed; the caller's own string never gets here.
PATHS: Mapping[Action, tuple[bytes, Callable[[Grant], str]]] = {
    Action.SUBMIT: (b"POST", lambda grant: f"/{grant.target.endpoint}"),
    Action.STATUS: (b"GET", _of_job("/status")),
    Action.STATUS_STREAM: (b"GET", _of_job("/status/stream")),
    Action.RESULT: (b"GET", _of_job("")),
    Action.CANCEL: (b"PUT", _of_job("/cancel")),
    Action.RUN: (b"POST", lambda grant: f"/{grant.target.endpoint}"),
    Action.RUN_STREAM: (b"POST", lambda grant: f"/{grant.target.endpoint}/stream"),
    Action.UPLOAD: (b"POST", lambda grant: grant.target.path),
    Action.TOKEN: (b"POST", lambda grant: grant.target.path),
}


class Outbound:
    """*authorization* is the value of that field, ours, on every request."""

    def __init__(self, authorization: bytes) -> None:
        def lines(action: Action, chosen: Fields) -> FieldLines:
            return FieldLines(headers.to_fal(action, authorization, chosen))

        # Callers choose the same few fields or none.
        self._lines = lru_cache(maxsize=256)(lines)

    def request(self, grant: Grant, body: bytes = b"", chosen: Fields = (), extra: str = "") -> UpstreamRequest:
        """*extra* is a parameter of our own beside those of the target."""
        target = grant.target
        method, path_of = PATHS[target.action]
        path = path_of(grant)
        if query := f"{target.query}&{extra}" if target.query and extra else target.query or extra:
            path = f"{path}?{query}"
        return UpstreamRequest(method, path.encode("ascii"), self._lines(target.action, chosen), body)
