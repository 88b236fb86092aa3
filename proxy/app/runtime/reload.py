"""Differences between two configurations of one running process. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxy.app.setup.components import Components
from proxy.auth.authorization import Listing
from proxy.config.loader import Config
from proxy.errors import Problem
from proxy.fal_api.operations import Action

# Keys and whole sections that all workers share; new workers and old ones must agree on them.
SHARED = ("server.host", "server.port", "admin.host", "admin.port", "store", "ledger")
# Those whose objects stay over a reload in place.
KEPT = (*SHARED, "privacy", "streams", "revocation", "tracing")
_JOB_ACTIONS = frozenset({Action.STATUS, Action.STATUS_STREAM, Action.RESULT, Action.CANCEL})


def restart_only_changes(before: Config, after: Config, keys: Sequence[str]) -> list[Problem]:
    """Returns a problem for each of *keys* that has changed, because a reload cannot apply it."""
    return [
        Problem(key, "this change needs a restart")
        for key in keys
        for old, new in [(_value(before, key), _value(after, key))]
        if old != new
    ]


def _value(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def with_readable_jobs(components: Components, previous: Components) -> Components:
    """Returns *components* with the endpoints that were removed, for the jobs that they still have."""
    listed = {listing.endpoint for listing in components.listings}
    removed = [
        Listing(listing.endpoint, listing.actions & _JOB_ACTIONS, listing.scope, listing.allow)
        for listing in previous.listings
        if listing.endpoint not in listed and listing.actions & _JOB_ACTIONS
    ]
    return replace(components, listings=(*components.listings, *removed))
