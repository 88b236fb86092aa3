"""Authorization: decides whether a caller may do something, and is the only module that makes a Grant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from proxy.auth.caller import Caller
from proxy.auth.claim_rule import ClaimRule
from proxy.auth.job_handles import JobHandles
from proxy.errors import Forbidden, JobNotFound
from proxy.fal_api.endpoint_ids import NAMESPACES, app_id
from proxy.fal_api.operations import WITHOUT_ENDPOINT, Action, Target


@dataclass(frozen=True, slots=True)
class Listing:
    """Endpoint that callers may use: full id, actions, and the scope and claims that a caller needs.

    Uploads and realtime tokens have a listing of the name that stands for them (`operations.WITHOUT_ENDPOINT`).
    """

    endpoint: str
    actions: frozenset[Action]
    scope: str | None = None
    allow: ClaimRule | None = None


@dataclass(slots=True)
class Grant:
    """Evidence that *caller* may do what *target* says; *upstream_id* is fal's id of the caller's own job.

    *key_alias* is the alias of the fal key that the call is sent with.
    """

    caller: Final[Caller]
    target: Final[Target]
    upstream_id: Final[str | None]
    key_alias: Final[str] = ""


class Authorization:
    """Authorization by the listed endpoints and by job handles."""

    def __init__(self, listings: Iterable[Listing], handles: JobHandles) -> None:
        self._handles = handles
        self._listings: dict[str, list[Listing]] = {}
        # A follow-up names only the app, so it is allowed where any listed endpoint of the app allows it.
        self._apps: dict[str, list[Listing]] = {}
        for listing in listings:
            self._listings[listing.endpoint] = [listing]
            if listing.endpoint not in WITHOUT_ENDPOINT.values():
                self._apps.setdefault(app_id(listing.endpoint), []).append(listing)
        self._namespaced: dict[str, list[str]] = {}
        for app in self._apps:
            namespace, _, bare = app.partition("/")
            if namespace in NAMESPACES:
                self._namespaced.setdefault(bare, []).append(app)

    def authorize(self, caller: Caller, target: Target) -> Grant:
        """Returns the grant. Raises Forbidden (endpoint, action, scope or claims) and JobNotFound."""
        if target.handle is not None:
            target = self._with_namespace(caller, target)
        by_app = target.handle is not None and target.endpoint == target.app
        listings = (self._apps if by_app else self._listings).get(target.endpoint)
        if listings is None:
            raise _not_offered(target)
        is_offered = is_in_scope = False
        for listing in listings:
            if target.action not in listing.actions and not _quotes(listing, target.action):
                continue
            is_offered = True
            if listing.scope is not None and listing.scope not in caller.scopes:
                continue
            is_in_scope = True
            if listing.allow is None or listing.allow.allows(caller):
                if target.handle is None:
                    return Grant(caller, target, None)
                job = self._handles.verify(target.handle, owner=caller.key, app=target.app)
                return Grant(caller, target, job.upstream_id, job.key_alias)
        if not is_offered:
            raise Forbidden(
                f"This action is not offered here for {target.endpoint}: {target.action}",
                error_type="action_not_listed",
            )
        if not is_in_scope:
            raise Forbidden(
                f"The session lacks a scope that this needs: {listing.scope}", error_type="insufficient_scope"
            )
        raise Forbidden(f"The session's claims do not allow this: {target.endpoint}", error_type="insufficient_claims")

    def _with_namespace(self, caller: Caller, target: Target) -> Target:
        """Returns *target* with the namespace of its job. The Kotlin and Dart clients poll without it.

        The handle is bound to the app with its namespace, so it proves which one is meant.
        """
        if target.handle is None or target.endpoint != target.app:
            return target
        apps = self._namespaced.get(target.app, ())
        for app in apps:
            with suppress(JobNotFound):
                self._handles.verify(target.handle, owner=caller.key, app=app)
                return replace(target, endpoint=app, app=app)
        # The same 404 as for every other job that is not the caller's, where only the namespaced app is listed.
        if apps and target.app not in self._apps:
            raise JobNotFound(reason="the handle is not this caller's")
        return target

    def sign_handle(self, grant: Grant, upstream_id: str) -> str:
        """Returns the handle of a job just submitted under *grant*. Raises ValueError on a malformed id."""
        owner, app = grant.caller.key, grant.target.app
        return self._handles.sign(upstream_id, owner=owner, app=app, key_alias=grant.key_alias)


def _quotes(listing: Listing, action: Action) -> bool:
    """Returns whether *action* is a quote that is offered: to callers who may submit or run."""
    return action is Action.QUOTE and not listing.actions.isdisjoint(_PAID)


def _not_offered(target: Target) -> Forbidden:
    if target.action in WITHOUT_ENDPOINT:
        return Forbidden(_CLOSED[target.action], error_type="action_not_listed")
    return Forbidden(f"This endpoint is not offered here: {target.endpoint}", error_type="endpoint_not_listed")


_PAID = frozenset({Action.SUBMIT, Action.RUN, Action.RUN_STREAM})
_CLOSED: Mapping[Action, str] = {
    Action.UPLOAD: "Uploads are not enabled here",
    Action.TOKEN: "Realtime tokens are not enabled here",
    Action.JOBS: "The list of jobs is not enabled here",
}
