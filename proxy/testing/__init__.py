"""Pytest plugin for apps that use the gateway, and the types of its fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.testing.gateway import FalGateway, running_gateway
    from proxy.testing.sandbox import FalSandbox, running_sandbox

_MODULES = {
    "FalGateway": "gateway",
    "FalSandbox": "sandbox",
    "running_gateway": "gateway",
    "running_sandbox": "sandbox",
}

__all__ = ["FalGateway", "FalSandbox", "running_gateway", "running_sandbox"]


def __getattr__(name: str) -> object:
    """Imports a public name on use: pytest loads this package in every run of an environment that has it."""
    if name not in _MODULES:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f"proxy.testing.{_MODULES[name]}"), name)
