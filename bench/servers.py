"""The gateway under each ASGI server of docs/servers.md: CPU of a poll and of a submit."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from bench.roster import PER_USER, Contender, gateway
from bench.rounds import Slice

_FACTORY = "proxy.app:create_app"
_UVICORN = ("uvicorn", "--no-proxy-headers", "--no-access-log", "--port", "{port}", "--factory", _FACTORY)
# The arguments after `python -m`, as docs/servers.md gives them.
SERVERS: Mapping[str, Sequence[str]] = {
    "serve": ("proxy", "serve"),
    "uvicorn, our class": (*_UVICORN, "--http", "proxy.http.server.connection:HttpConnection"),
    "uvicorn, httptools": (*_UVICORN, "--http", "httptools"),
    "uvicorn, h11": (*_UVICORN, "--http", "h11"),
    "granian": ("granian", "--interface", "asgi", "--no-ws", "--port", "{port}", "--factory", _FACTORY),
    "hypercorn": ("hypercorn", "--worker-class", "uvloop", "--bind", "127.0.0.1:{port}", f"{_FACTORY}()"),
}


def contenders() -> list[Contender]:
    """Returns the gateway under each server, with session checks, limits and validation, without a ledger."""
    return [
        Contender(name, gateway(name.replace(", ", "-").replace(" ", "-"), server=command), PER_USER, handles=True)
        for name, command in SERVERS.items()
    ]


def table(slices: Sequence[Slice]) -> str:
    """Returns the medians as a Markdown table, with the ratio to `serve`."""
    return "\n".join(["| server | poll, µs | submit, µs |", "|---|---|---|", *_rows(slices)])


def _rows(slices: Sequence[Slice]) -> Iterator[str]:
    medians = {
        (name, kind): statistics.median(s.cpu for s in slices if (s.contender, s.kind) == (name, kind))
        for name in SERVERS
        for kind in ("poll", "submit")
        if any((s.contender, s.kind) == (name, kind) for s in slices)
    }
    for name in SERVERS:
        cells = [
            f"{medians[name, kind]:.0f} ({medians[name, kind] / medians['serve', kind]:.2f})"
            for kind in ("poll", "submit")
            if (name, kind) in medians
        ]
        yield f"| {name} | {' | '.join(cells)} |"
