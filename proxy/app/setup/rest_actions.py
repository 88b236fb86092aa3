"""Operations on fal's REST host, built from their sections: uploads and realtime tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.auth.authorization import Listing
from proxy.billing.pricing import Price
from proxy.config.loader import Config
from proxy.config.sections.endpoints import UPLOADED, Files
from proxy.config.sections.uploads import UploadsSection
from proxy.fal_api.operations import REALTIME, UPLOADS, Action
from proxy.http.origin import Origin
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.files.input_files import FileRules
from proxy.payload.files.lifecycle import Lifecycle
from proxy.payload.realtime_tokens import RealtimeTokens
from proxy.payload.uploads import Uploads


@dataclass(frozen=True)
class RestActions:
    """Uploads and realtime tokens that are allowed.

    *listings* and *prices* are under the names "uploads" and "realtime", *issues* by action.
    """

    listings: tuple[Listing, ...] = ()
    issues: Mapping[Action, Uploads | RealtimeTokens] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)


def build_rest_actions(config: Config) -> RestActions:
    """Builds the actions of the tables [uploads] and [realtime], none without them."""
    listings: list[Listing] = []
    issues: dict[Action, Uploads | RealtimeTokens] = {}
    prices: dict[str, Price] = {}
    if (uploads := config.uploads) is not None:
        hosts = HostAllowlist.from_patterns(uploads.hosts, local=_sandbox(config))
        lifecycle = Lifecycle(uploads.lifetime_seconds, uploads.lifetime_mode)
        issues[Action.UPLOAD] = Uploads(uploads.content_types, hosts=hosts, lifecycle=lifecycle)
        listings.append(Listing(UPLOADS, frozenset({Action.UPLOAD}), uploads.scope))
        prices[UPLOADS] = _flat(uploads.price)
    if (realtime := config.realtime) is not None:
        issues[Action.TOKEN] = RealtimeTokens(realtime.apps, max_seconds=realtime.max_seconds)
        listings.append(Listing(REALTIME, frozenset({Action.TOKEN}), realtime.scope))
        prices[REALTIME] = _flat(realtime.price)
    return RestActions(tuple(listings), issues, prices)


def build_file_rules(config: Config, files: Files) -> FileRules:
    """Builds the file rules of an endpoint.

    The host "uploads" stands for the hosts of [uploads], or their default, and for a sandbox's file host.
    """
    patterns = {host for host in files.hosts if host != UPLOADED}
    local = None
    if UPLOADED in files.hosts:
        patterns.update((config.uploads or UploadsSection()).hosts)
        local = _sandbox(config)
    return FileRules(
        HostAllowlist.from_patterns(patterns, local=local),
        None if files.media_types is None else frozenset(files.media_types),
        files.max_bytes,
        frozenset(files.fields),
        frozenset(files.text_fields),
    )


def _sandbox(config: Config) -> str | None:
    """Returns the origin of uploaded files of a sandbox. Only a loopback origin may be plain http."""
    origin = config.fal.rest_origin.lower()
    return origin if Origin.parse(origin).scheme == "http" else None


def _flat(units: float) -> Price:
    return Price(f"{units!r}", {})
