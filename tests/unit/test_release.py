"""Tests of the release script."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from release import FILES, PLACEHOLDER, ROOT, Release

VERSION = '__version__ = "1.2.0"\n'
URLS = '[project.urls]\nRepository = "https://git.example.com/team/gateway"\n'
CHANGELOG = "# Changelog\n\n## 1.2.0 - 2026-11-26\n\n## 1.1.0 - 2026-10-01\n"


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a tagged checkout that is ready."""
    (tmp_path / "proxy").mkdir()
    for name, text in {"proxy/__init__.py": VERSION, "pyproject.toml": URLS, "CHANGELOG.md": CHANGELOG}.items():
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "git@git.example.com:team/gateway.git")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    git(tmp_path, "tag", "v1.2.0")
    return tmp_path


def test_a_tagged_checkout_is_ready(checkout: Path) -> None:
    """Version, changelog, tag, origin and work tree fit: there is no problem."""
    assert Release(checkout).problems() == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("CHANGELOG.md", CHANGELOG.replace("2026-11-26", "unreleased"), "'unreleased' is no date"),
        ("CHANGELOG.md", CHANGELOG.replace("1.2.0", "1.3.0"), "not that of 1.2.0"),
        ("proxy/__init__.py", VERSION.replace("1.2.0", "1.2.1"), "tag v1.2.1 is not at this commit"),
        ("pyproject.toml", URLS.replace("team", "other"), "origin is git@git.example.com:team/gateway.git"),
        ("proxy/new.py", "", "not committed"),
    ],
)
def test_each_mismatch_is_named(checkout: Path, name: str, text: str, problem: str) -> None:
    """A change that makes the checkout unfit is reported with what does not fit."""
    (checkout / name).write_text(text)

    assert problem in "\n".join(Release(checkout).problems())


def test_a_tag_of_an_older_commit_does_not_count(checkout: Path) -> None:
    """The tag must be at the commit that is built."""
    git(checkout, "commit", "-q", "--allow-empty", "-m", "second")

    assert Release(checkout).problems() == ["the tag v1.2.0 is not at this commit: git tag -s v1.2.0"]


def test_a_placeholder_is_refused_until_the_address_is_set(checkout: Path) -> None:
    """Nothing is built that names a repository which does not exist; one command sets the address."""
    (checkout / "pyproject.toml").write_text(URLS.replace("https://git.example.com/team", PLACEHOLDER + "team"))
    release = Release(checkout)

    assert any(problem.startswith("set the repository's address first") for problem in release.problems())
    assert release.set_repository("https://git.example.com/team/gateway") == ["pyproject.toml"]
    assert release.problems() == []


def test_the_address_is_one_fact() -> None:
    """Each file with the repository's address has that of pyproject.toml, and `FILES` lists them all."""
    stated = Release(ROOT).repository
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], check=True, capture_output=True, text=True)
    found = {
        name
        for name in tracked.stdout.splitlines()
        if not name.startswith(("tests/", "tools/release")) and (ROOT / name).is_file()
        if stated.encode() in (ROOT / name).read_bytes()
    }

    assert found == set(FILES)
    assert b"github.com/fal-auth-proxy" not in b"".join((ROOT / name).read_bytes() for name in FILES)
