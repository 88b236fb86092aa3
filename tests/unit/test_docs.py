"""Tests of the documentation against the program."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import proxy
from proxy.config.loader import read

PACKAGE = Path(proxy.__file__).parent
ROOT = PACKAGE.parent
DOCS = ROOT / "docs"
# Packages that are not the gateway: their errors reach no caller of it.
OTHERS = {"sandbox", "demo"}
# Types of log lines, and of fal's own answers.
NOT_OURS = {"client_cancelled"}
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))]


def error_types() -> set[str]:
    """Returns the error types that the sources of the gateway give as such."""
    return set(re.findall(r"error_type(?:: str)? ?= ?\"([a-z_]+)\"", sources())) - NOT_OURS


def sources() -> str:
    """Returns the text of all modules of the gateway."""
    modules = (p for p in sorted(PACKAGE.rglob("*.py")) if not OTHERS & set(p.relative_to(PACKAGE).parts))
    return "\n".join(p.read_text(encoding="utf-8") for p in modules)


def test_every_error_type_is_documented() -> None:
    """The page of errors lists all error types, and no others."""
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)} - {"error_type"}
    text = sources()

    assert error_types() - documented == set()
    assert {name for name in documented if f'"{name}"' not in text} == set()


def test_every_error_type_is_in_the_threat_model() -> None:
    """The table has each error type with its code and a test; the others stand below it with the reason."""
    page = (DOCS / "threat-model.md").read_text(encoding="utf-8")
    table = page.partition("## Refusals")[2].partition("## Limits without")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `") and "error_type" not in line]
    listed = [name for row in rows for name in re.findall(r"`([a-z_]+)`", row[0])]
    excluded = set(re.findall(r"^`([a-z_]+)`|\. `([a-z_]+)`", table, re.MULTILINE))

    assert {name for pair in excluded for name in pair if name} == {"internal_error", "delivery_failed"}
    assert error_types() - {"internal_error", "delivery_failed"} - set(listed) == set()
    assert set(listed) <= error_types() | {"too_many_jobs"}
    assert len(listed) == len(set(listed))
    assert [row[0] for row in rows if "`proxy/" not in row[2] or "`tests/" not in row[2]] == []


def test_every_error_type_has_its_troubleshooting() -> None:
    """The page by message lists each error type of the page of errors in the operator's table."""
    pattern = re.compile(r"^\| (`[a-z_`, ]+) \|", re.MULTILINE)
    listed, looked_up = (
        {
            name
            for row in pattern.findall((DOCS / page).read_text(encoding="utf-8"))
            for name in re.findall(r"[a-z_]+", row)
        }
        for page in ("errors.md", "troubleshooting.md")
    )
    fields = {"extra_forbidden", "url_not_accepted", "media_type_not_accepted", "data_uri_invalid", "file_too_large"}
    fields |= {"unpriceable", "idempotency_key_reused"}  # types of one field, not of an answer

    assert listed - fields - looked_up == {"error_type", "type"} & (listed - looked_up)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    """A link to a file, or to a heading of a page, exists."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    missing = [target for target in targets if not leads_somewhere(page, target)]

    assert missing == []


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, heading = target.partition("#")
    path = page.parent / name if name else page
    if not path.exists():
        return False
    return not heading or heading in {slug(line) for line in path.read_text(encoding="utf-8").splitlines()}


def slug(line: str) -> str:
    """Returns the anchor that GitHub and the site generator give a heading."""
    return re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-") if line.startswith("#") else ""


def toml_blocks() -> list[tuple[str, str]]:
    """Returns the page and the text of every TOML block."""
    texts = ((page.name, page.read_text(encoding="utf-8")) for page in PAGES)
    return [(name, block) for name, text in texts for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize(
    ("page", "block"), toml_blocks(), ids=[f"{page}-{n}" for n, (page, _) in enumerate(toml_blocks())]
)
def test_every_toml_block_is_a_configuration(page: str, block: str) -> None:
    """Each block is valid for the sections that it has; the required [server] may be left out."""
    document = tomllib.loads(block)
    server = {"public_origin": "https://app.example.com"} | document.pop("server", {})

    assert read({"server": server, **document}, {}, base=DOCS).problems == ()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_of_the_examples_is_shown_as_it_is(page: Path) -> None:
    """A block titled with a file of `examples/` is a part of that file."""
    blocks = re.findall(r"```\w+ title=\"(examples/[^\"]+)\"\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)

    assert [name for name, code in blocks if code not in (ROOT / name).read_text(encoding="utf-8")] == []


def test_every_folder_is_in_the_architecture() -> None:
    """The picture of folders has each folder of Python code, and names no other path of the package."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    picture = page.partition("```\n")[2].partition("```")[0]
    folders = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")} - {"."}
    words = set(re.findall(r"[a-z_]+(?:/[a-z_]+)*", picture))

    assert folders - words == set()
    assert {word for word in words if "/" in word and not (PACKAGE / word).is_dir()} == set()


def test_every_page_is_in_the_navigation() -> None:
    """The documentation site lists all pages, and no others."""
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    listed = re.findall(r"'([\w./-]+\.md)'", str(nav))

    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_every_path_of_the_repository_exists(page: Path) -> None:
    """A path in code, as in `proxy/errors.py`, exists; `<name>` and `*` stand for any."""
    paths = re.findall(
        r"`((?:proxy|tests|tools|deploy|bench|docs|examples)/[\w./<>*-]*)`", page.read_text(encoding="utf-8")
    )
    missing = [path for path in paths if not list(ROOT.glob(re.sub(r"<[^>]*>", "*", path).rstrip("/")))]

    assert missing == []
