"""Pytest plugin with the fixtures `fal_gateway` and `fal_sandbox`.

pytest imports it in every run, so all other modules of the package are imported when a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from proxy.sandbox.settings import SandboxSettings
    from proxy.testing.gateway import FalGateway
    from proxy.testing.sandbox import FalSandbox


@pytest.fixture(scope="session")
def fal_sandbox_settings() -> SandboxSettings:
    """Settings of the sandbox: jobs that end at once.

    Override it for slower jobs, or for schemas of your own.
    """
    from proxy.testing.sandbox import IMMEDIATE

    return IMMEDIATE


@pytest.fixture
def fal_gateway_config() -> Path | Mapping[str, object] | None:
    """Configuration of `fal_gateway`: none, for all endpoints that the sandbox has schemas of.

    Override it with the path of your own file, or with its sections as a mapping.
    """
    return None


@pytest.fixture(scope="session")
def _fal_sandbox_server(fal_sandbox_settings: SandboxSettings) -> Iterator[FalSandbox]:
    from proxy.testing.sandbox import running_sandbox

    with running_sandbox(fal_sandbox_settings) as sandbox:
        yield sandbox


@pytest.fixture
def fal_sandbox(_fal_sandbox_server: FalSandbox) -> Iterator[FalSandbox]:
    """A local fal on loopback ports, one for all tests, without jobs, counts and faults of other tests."""
    _fal_sandbox_server.reset()
    yield _fal_sandbox_server
    _fal_sandbox_server.reset()


@pytest.fixture
def fal_gateway(
    fal_sandbox: FalSandbox, fal_gateway_config: Path | Mapping[str, object] | None
) -> Iterator[FalGateway]:
    """A gateway on a loopback port in front of `fal_sandbox`, with new budgets and limits for each test."""
    from proxy.testing.gateway import running_gateway

    with running_gateway(fal_sandbox, fal_gateway_config) as gateway:
        yield gateway
