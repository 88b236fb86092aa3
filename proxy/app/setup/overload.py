"""Refusal of requests under overload, from the configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from proxy.app.setup.components import Components
from proxy.fal_api.call_ranks import CallRanks
from proxy.http.cors import Cors
from proxy.http.server.load_limit import LoadLimit
from proxy.http.server.overload import Overload
from proxy.telemetry.metrics import Telemetry
from proxy.webhooks.callback_url import ROUTE as CALLBACK_ROUTE


def build_overload(
    components: Components,
    *,
    open_streams: Callable[[], int],
    waiting: Callable[[], int],
    report: Callable[[Mapping[str, object]], None],
) -> Overload:
    """Builds the load limit of one process.

    *open_streams* and *waiting* return numbers of requests that need nothing of this process. *report* writes an event
    to the log.
    """

    def on_change(begins: bool) -> None:
        state = "begins" if begins else "ends"
        report(
            {
                "event": "overload",
                "state": state,
                "lag_ms": round(1000 * load_limit.lag),
                "limit": round(load_limit.most),
            }
        )

    load_limit = LoadLimit(on_change=on_change)
    overload = Overload(load_limit, open_streams=open_streams, waiting=waiting, ranking=_ranks(components))
    configure_overload(overload, components)
    return overload


def configure_overload(overload: Overload, components: Components) -> None:
    """Takes the limits of a new configuration. What is in flight stays counted."""
    section, server = components.config.overload, components.config.server
    overload.load_limit.max_wait = section.max_lag_seconds
    overload.load_limit.floor = section.min_in_flight if section.shed else math.inf
    cors = Cors(server.cors_origins, headers=server.cors_headers, expose=server.cors_expose)
    overload.configure(_ranks(components), cors.fields)


def overload_metrics(telemetry: Telemetry, overload: Overload) -> None:
    """Exports lag, limit and refusals."""
    load_limit = overload.load_limit
    telemetry.gauge(
        "loop_lag_seconds",
        "Least lag of the event loop in the last 0.2 s, or longer while it is late.",
        lambda: load_limit.lag,
        merge="max",
    )
    telemetry.gauge(
        "in_flight_limit",
        "Requests in flight that are taken on, without those that wait for fal.",
        lambda: load_limit.most,
    )
    telemetry.counters(
        "shed",
        "Requests refused because of overload, by kind.",
        ("kind",),
        lambda: [((rank.name.lower(),), count) for rank, count in tuple(load_limit.refused.items())],
    )


def _ranks(components: Components) -> CallRanks:
    fields = frozenset(issuer.header for issuer in components.issuers if issuer.header is not None)
    return CallRanks(fields, CALLBACK_ROUTE)
