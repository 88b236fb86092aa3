"""The shape of the package: arrows run one way, stages know no configuration, only one module makes a Grant."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import proxy

PACKAGE = Path(proxy.__file__).parent
TESTS = Path(__file__).parent

# Each module may import from the rows above its own, never from its own row or below.
ROWS: list[set[str]] = [
    {
        "addresses",
        "breaker",
        "errors",
        "file_names",
        "hosts",
        "request",
        "journal",
        "section",
        "sqlite_schema",
        "sqlite_steps",
        "store_topologies",
        "tallies",
        "tls",
        "webhook_urls",
        "welcome",
        "windows",
    },
    {
        "answers",
        "app_signature",
        "bodies",
        "door",
        "doubts",
        "endpoint_ids",
        "events",
        "group_commit",
        "guards",
        "handles",
        "jsontext",
        "jwks",
        "sieve",
        "store",
        "streams",
        "telemetry",
        "wire",
        "workers",
    },
    {"arrival", "outlet", "patience", "subjects", "targets"},
    {
        "caps",
        "connection",
        "deliveries",
        "exchange",
        "explanations",
        "headers",
        "jws",
        "ledger_scripts",
        "limits",
        "prices",
        "redis_windows",
    },
    {"presence"},
    {"cookies", "cors", "dial", "inbound", "keys", "lifecycle", "pool", "site", "streamed", "validation"},
    {"fal_signature", "identity", "inputs", "listener", "minting", "schema", "signin", "upstream"},
    {"budgets", "callback_seals", "outcomes", "ownership", "values", "webhook_section"},
    {"endings", "file_sections", "ledger", "ledger_keys", "outbound", "policy"},
    {
        "callback_claims",
        "description",
        "realtime",
        "redis_ledger",
        "relay",
        "replays",
        "sections",
        "shortfalls",
        "sqlite_ledger",
        "uploads",
    },
    {"callback_urls", "config", "spending", "usage"},
    {"allowances", "issuing", "runs", "watch"},
    {"gateway", "issuers", "openings", "showcase", "webhooks"},
    {"callbacks", "parts"},
    {"front", "ledgers", "webhook_assembly"},
    {"fal_clients"},
    {"assembly"},
    {"serving"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
LEVEL = {module: level for level, row in enumerate(ROWS) for module in row}
STAGES = {"targets", "identity", "ownership", "policy", "limits", "relay", "outcomes", "answers", "gateway"}
PURE = {"errors", "jsontext", "breaker", "targets", "handles", "addresses", "guards", "jws", "headers", "identity"}
PURE |= {"hosts", "inputs", "file_names", "lifecycle", "uploads", "realtime"}
PURE |= {
    "arrival",
    "patience",
    "answers",
    "ownership",
    "cookies",
    "cors",
    "policy",
    "schema",
    "outcomes",
    "budgets",
    "prices",
    "endings",
    "caps",
}
PURE |= {"events", "sieve"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports(path: Path) -> Iterator[str]:
    """Names of what *path* imports, dotted; `from proxy import x` counts as `proxy.x`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                f"{node.module}.{alias.name}" if node.module == "proxy" else node.module for alias in node.names
            )


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_arrows_point_one_way(path: Path) -> None:
    """A module imports only from rows above its own, so there are no circles."""
    inner = {name.split(".")[1] for name in imports(path) if name.startswith("proxy.") and "sandbox" not in name}
    inner -= {"__version__"}

    assert path.stem in LEVEL, "a new module needs its row"
    assert {name for name in inner if LEVEL[name] >= LEVEL[path.stem]} == set()


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_no_stage_knows_the_configuration(stage: str) -> None:
    """Stages take plain arguments."""
    assert not {"proxy.config", "proxy.assembly", "pydantic"} & set(imports(PACKAGE / f"{stage}.py"))


@pytest.mark.parametrize("module", sorted(PURE))
def test_decisions_do_no_io(module: str) -> None:
    """Decision modules import neither an event loop nor a socket, a client or a clock."""
    assert not {"asyncio", "socket", "httpx2", "redis", "time", "threading"} & set(imports(PACKAGE / f"{module}.py"))


def test_the_sandbox_knows_nothing_of_the_gateway() -> None:
    """The sandbox is another service: it may import only itself."""
    for path in PACKAGE.glob("sandbox/**/*.py"):
        assert {n for n in imports(path) if n.startswith("proxy") and not n.startswith("proxy.sandbox")} == set(), path


def test_only_ownership_makes_a_grant() -> None:
    """A grant that anybody could construct would prove nothing."""
    makers = {path.stem for path in modules() for name in called(path) if name == "Grant"}

    assert makers == {"ownership"}


def test_only_the_relay_says_the_key() -> None:
    """The upstream Authorization is built in one place."""
    assert [path.stem for path in modules() if 'b"Key ' in path.read_text(encoding="utf-8")] == ["relay"]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_house_rules(path: Path) -> None:
    """No module over 250 lines, no assert, no nested try, no decision on Starlette's decoded URL."""
    text = path.read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(text)))
    tries = [node for node in nodes if isinstance(node, ast.Try)]
    nested = [n for outer in tries for n in ast.walk(outer) if isinstance(n, ast.Try) and n is not outer]

    assert len(text.splitlines()) <= (340 if path.stem == "errors" else 250)
    assert not [node for node in nodes if isinstance(node, ast.Assert)]
    assert not nested
    assert "request.url" not in text
    assert path.stem not in {"utils", "helpers", "common", "core", "base"}


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.stem)
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
