"""May this caller do this, and is the job theirs: the only module that makes a Grant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from proxy.auth.caller import Caller
from proxy.auth.job_handles import JobHandles
from proxy.errors import Forbidden
from proxy.fal_api.endpoint_ids import app_id
from proxy.fal_api.operations import WITHOUT_ENDPOINT, Action, Target


@dataclass(frozen=True, slots=True)
class Listing:
    """One endpoint the operator opened: its full id, what may be asked of it, and the scope that takes, if any.

    Uploads and realtime tokens are opened by a listing of the name that stands for them (`targets.WITHOUT_ENDPOINT`).
    """

    endpoint: str
    actions: frozenset[Action]
    scope: str | None = None


class Grant(NamedTuple):
    """The proof that *caller* may do what *target* says; *upstream_id* is fal's id of the caller's own job."""

    caller: Caller
    target: Target
    upstream_id: str | None


class Authorization:
    def __init__(self, listings: Iterable[Listing], handles: JobHandles) -> None:
        self._handles = handles
        self._listings: dict[str, list[Listing]] = {}
        # Follow-ups come addressed to the app alone, so they are open where any listed endpoint of the app opens them.
        self._apps: dict[str, list[Listing]] = {}
        for listing in listings:
            self._listings[listing.endpoint] = [listing]
            if listing.endpoint not in WITHOUT_ENDPOINT.values():
                self._apps.setdefault(app_id(listing.endpoint), []).append(listing)

    def authorize(self, caller: Caller, target: Target) -> Grant:
        """Raises Forbidden (endpoint, action or scope not granted) and JobNotFound."""
        by_app = target.handle is not None and target.endpoint == target.app
        listings = (self._apps if by_app else self._listings).get(target.endpoint)
        if listings is None:
            raise _not_offered(target.action)
        scopes = [listing.scope for listing in listings if target.action in listing.actions]
        if not scopes:
            raise Forbidden("This action is not offered here", error_type="action_not_listed")
        if None not in scopes and caller.scopes.isdisjoint(scopes):
            raise Forbidden("The session's scope does not cover this", error_type="insufficient_scope")
        return Grant(caller, target, self._job(caller, target))

    def sign_handle(self, grant: Grant, upstream_id: str) -> str:
        """The handle of a job just submitted under *grant*. Raises ValueError on an id that is not one."""
        return self._handles.sign(upstream_id, owner=grant.caller.key, app=grant.target.app)

    def _job(self, caller: Caller, target: Target) -> str | None:
        if target.handle is None:
            return None
        return self._handles.verify(target.handle, owner=caller.key, app=target.app)


def _not_offered(action: Action) -> Forbidden:
    if action in WITHOUT_ENDPOINT:
        return Forbidden(_CLOSED[action], error_type="action_not_listed")
    return Forbidden("This endpoint is not offered here", error_type="endpoint_not_listed")


_CLOSED: Mapping[Action, str] = {
    Action.UPLOAD: "Uploads are not enabled here",
    Action.TOKEN: "Realtime tokens are not enabled here",
}
