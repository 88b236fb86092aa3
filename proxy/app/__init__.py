"""The gateway as a Starlette application."""

from proxy.app.factory import create_app, create_metrics_app

__all__ = ["create_app", "create_metrics_app"]
