"""Traces of OpenTelemetry, built from the [tracing] of a configuration."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from proxy.config.loader import Config
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry
from proxy.telemetry.request_line import Journaling

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.telemetry.tracing.tracer import Tracer

_MISSING_PACKAGE = "traces need a package that is not installed: pip install 'fal-auth-proxy[otel]'"
_STANDARD = "OTEL_"  # start of the variables that OpenTelemetry specifies


def check_tracing(config: Config) -> None:
    """Raises ValueError where traces are on without their package."""
    if not config.tracing.enabled:
        return
    try:
        import_module("proxy.telemetry.tracing.tracer")
    except ImportError as error:
        raise ValueError(_MISSING_PACKAGE) from error


def build_tracer(config: Config) -> Tracer | None:
    """Returns the tracer of one process, None where traces are off. It starts a thread."""
    section = config.tracing
    if not section.enabled:
        return None
    from proxy.telemetry.tracing.tracer import Tracer, TraceSettings

    # The SDK reads the process's own environment; a variable may come from the file .env, too.
    os.environ.update({name: value for name, value in config.environ.items() if name.startswith(_STANDARD)})
    return Tracer(
        TraceSettings(
            origin=config.server.public_origin,
            prefix=config.server.prefix,
            endpoint=section.endpoint,
            sample_ratio=section.sample_ratio,
            caller_context=section.caller_context,
            shows_callers=section.callers,
        )
    )


def build_telemetry(journal: JsonLogWriter, journaling: Journaling, *, traced: bool) -> Telemetry:
    """Returns the telemetry of one process.

    That with traces is a class of its own, so that a process without them has no step more a request.
    """
    if not traced:
        return Telemetry(journal, journaling=journaling)
    from proxy.telemetry.tracing.traced_telemetry import TracedTelemetry

    return TracedTelemetry(journal, journaling=journaling)


def with_tracing(app: ASGIApp, config: Config, tracer: Callable[[], Tracer | None]) -> ASGIApp:
    """Returns *app* in the middleware of traces, and *app* itself where they are off."""
    if not config.tracing.enabled:
        return app
    from proxy.telemetry.tracing.middleware import TracingMiddleware

    return TracingMiddleware(app, tracer)
