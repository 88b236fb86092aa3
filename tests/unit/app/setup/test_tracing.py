"""Tests of the set-up of traces: the extra that they need, and what a process without them is made of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.in_process_gateway import ENVIRON, document, small_components

from proxy.app.application import Application
from proxy.app.asgi import GatewayMiddleware
from proxy.app.runtime.reload import KEPT, restart_only_changes
from proxy.app.setup.components import build_components
from proxy.app.setup.upstream.clients import build_clients
from proxy.config.loader import read
from proxy.errors import ConfigError
from proxy.fal_api.operations import Surface
from proxy.http.client.client import HttpClient
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry


def problems(**tracing: object) -> Mapping[str, str]:
    """Returns the problems of a configuration by key."""
    try:
        build_components(read(document(tracing=tracing), ENVIRON, base=Path()))
    except ConfigError as error:
        return {problem.key: problem.message for problem in error.problems}
    return {}


def test_without_the_extra_a_start_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces that are on without their package are a problem of one line; off, nothing is missing."""
    for name in [name for name in sys.modules if name.startswith("proxy.telemetry.tracing.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    assert problems(enabled=True) == {
        "tracing.enabled": "traces need a package that is not installed: pip install 'fal-auth-proxy[otel]'"
    }
    assert problems(enabled=False) == {}


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "ftp://collector", "https://user:secret@collector", "http://collector?key=1"]
)
def test_an_endpoint_is_an_address_without_a_credential(endpoint: str) -> None:
    """The key is named for what is no http(s) address; a credential has its variable."""
    assert list(problems(endpoint=endpoint)) == ["tracing.endpoint"]


def test_without_traces_nothing_of_them_is_built(tmp_path: Path) -> None:
    """Middleware, telemetry and clients are those of a gateway that knows no traces."""
    parts = small_components()
    application = Application(parts, JsonLogWriter(1))

    assert type(application.listener) is GatewayMiddleware
    assert type(application.active.telemetry) is Telemetry
    assert {type(client) for client in build_clients(parts).values()} == {HttpClient}
    assert Surface.QUEUE in build_clients(parts)


def test_without_traces_the_package_is_not_imported() -> None:
    """A gateway without traces does not import the exporter. (redis-py imports the SDK where it is.)"""
    program = "import sys, proxy.app.service, proxy.app.factory; print('opentelemetry.exporter' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout == b"False\n"


def test_a_reload_in_place_does_not_change_traces() -> None:
    """A change of [tracing] is refused by name, as the exporter stays."""
    before = read(document(), ENVIRON, base=Path())
    after = read(document(tracing={"enabled": True}), ENVIRON, base=Path())

    assert [problem.key for problem in restart_only_changes(before, after, KEPT)] == ["tracing"]
