"""Structure of the package: sizes, folders, purity of decision modules, single makers of evidence.

import-linter checks the order of imports (`make lint`); this module checks what contracts cannot express.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import proxy

PACKAGE = Path(proxy.__file__).parent
TESTS = Path(__file__).parents[1]

MAX_LINES = 400
MAX_FOLDER = 12
STAGES = (
    "auth/authenticator",
    "auth/authorization",
    "fal_api/operations",
    "gateway/gateway",
    "http/response",
    "payload/policy",
    "ratelimit/rate_limiter",
    "upstream/outcomes",
    "upstream/relay",
)
PURE = (
    "auth/authenticator",
    "auth/authorization",
    "auth/job_handles",
    "auth/sessions/claims",
    "auth/sessions/issuer",
    "auth/sessions/jws",
    "auth/sessions/session_cookie",
    "auth/sessions/subject",
    "auth/token_verifier",
    "billing/budgets",
    "billing/pricing",
    "errors",
    "fal_api/headers",
    "fal_api/operations",
    "http/client_address",
    "http/cors",
    "http/request_checks",
    "http/response",
    "http/server/timeouts",
    "http/sse",
    "payload/caps",
    "payload/files/file_names",
    "payload/files/host_allowlist",
    "payload/files/input_files",
    "payload/files/lifecycle",
    "payload/policy",
    "payload/realtime_tokens",
    "payload/validation/schema_file",
    "payload/uploads",
    "strict_json",
    "upstream/account/refusal",
    "upstream/account/state",
    "upstream/breakers/breaker",
    "upstream/breakers/breaker_table",
    "upstream/classifier",
    "upstream/job_end",
    "upstream/outcomes",
    "upstream/retry_after",
    "upstream/secret_filter",
)
IMPURE_IMPORTS = {"asyncio", "socket", "httpx2", "redis", "time", "threading"}


def imports(path: Path) -> Iterator[str]:
    """Yields the dotted name of each module that *path* imports; `from proxy import x` yields `proxy.x`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                f"{node.module}.{alias.name}" if node.module == "proxy" else node.module for alias in node.names
            )


def gateway_modules() -> list[Path]:
    return sorted(
        p for p in PACKAGE.rglob("*.py") if "sandbox" not in p.relative_to(PACKAGE).parts and p.stem != "__init__"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_reads_the_configuration(stage: str) -> None:
    """A stage of the request imports neither the configuration nor the composition root."""
    imported = set(imports(PACKAGE / f"{stage}.py"))

    assert not {name for name in imported if name.startswith(("proxy.config", "proxy.app", "pydantic"))}


@pytest.mark.parametrize("module", PURE)
def test_decisions_do_no_io(module: str) -> None:
    """A decision module imports neither an event loop nor a socket, a client or a clock."""
    assert not IMPURE_IMPORTS & set(imports(PACKAGE / f"{module}.py"))


def test_only_authorization_makes_a_grant() -> None:
    """Only one module constructs a Grant, so a Grant is evidence of authorization."""
    makers = {path.stem for path in gateway_modules() for name in called(path) if name == "Grant"}

    assert makers == {"authorization"}


def test_only_the_relay_writes_the_key() -> None:
    """Only one module builds the Authorization field of an upstream request."""
    assert [path.stem for path in gateway_modules() if 'b"Key ' in path.read_text(encoding="utf-8")] == ["relay"]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_rules(path: Path) -> None:
    """A module has at most 400 lines, no assert, no nested try, and reads no URL that Starlette decoded."""
    text = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    tries = [node for node in nodes if isinstance(node, ast.Try)]
    nested = [n for outer in tries for n in ast.walk(outer) if isinstance(n, ast.Try) and n is not outer]

    assert len(text.splitlines()) <= MAX_LINES
    assert not [node for node in nodes if isinstance(node, ast.Assert)]
    assert not nested
    assert "request.url" not in text
    assert path.stem not in {"utils", "helpers", "common", "core", "base"}


def test_folders_are_small() -> None:
    """Each folder of the package except the sandbox has at most 12 modules."""
    folders = {path.parent for path in gateway_modules()}

    assert {f: n for f in folders if (n := len([p for p in f.glob("*.py") if p.stem != "__init__"])) > MAX_FOLDER} == {}


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_every_test_states_its_claim(path: Path) -> None:
    """Each test has a docstring."""
    silent = [
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert silent == []


def called(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
