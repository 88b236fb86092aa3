"""Checker and builder of a release: version, changelog, tag, address, origin; wheel and sdist.

Run it as `tools/release`. It prints each problem and ends with status 1; it publishes nothing. `tools/release
--repository URL` sets the address of the repository in every file that has it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_HEADING = re.compile(r"^## (?P<version>\S+) - (?P<date>.+)$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_REPOSITORY = re.compile(r"^(?:https://|ssh://git@|git@)(?P<host>[^/:]+)[/:](?P<path>.+?)(?:\.git)?/?$")

PLACEHOLDER = "https://repository.invalid/"  # RFC 2606 section 2: a name that will never exist
FILES = ("pyproject.toml", "deploy/systemd/fal-proxy.service", "docs/threat-model.md")  # with the address


class Release:
    """A checkout that may become a release. Each method returns a problem, None where there is none."""

    def __init__(self, root: Path) -> None:
        self._root = root
        source = (root / "proxy" / "__init__.py").read_text(encoding="utf-8")
        self.version = re.findall(r'__version__ = "(.+)"', source)[0]

    def work_tree(self) -> str | None:
        return "the work tree has changes that are not committed" if self._git("status", "--porcelain") else None

    def changelog(self) -> str | None:
        newest = _HEADING.search((self._root / "CHANGELOG.md").read_text(encoding="utf-8"))
        if newest is None or newest["version"] != self.version:
            return f"CHANGELOG.md: the newest section is not that of {self.version}"
        return None if _DATE.fullmatch(newest["date"]) else f"CHANGELOG.md: {newest['date']!r} is no date of a release"

    def tag(self) -> str | None:
        name = f"v{self.version}"
        if self._git("rev-list", "-n", "1", f"refs/tags/{name}") == self._git("rev-parse", "HEAD"):
            return None
        return f"the tag {name} is not at this commit: git tag -s {name}"

    @property
    def repository(self) -> str:
        """Address of the repository, as stated in pyproject.toml."""
        project = tomllib.loads((self._root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["urls"]["Repository"])

    def address(self) -> str | None:
        if self.repository.startswith(PLACEHOLDER):
            return "set the repository's address first: tools/release --repository https://<host>/<owner>/<name>"
        return None

    def origin(self) -> str | None:
        stated, actual = self.repository, self._git("remote", "get-url", "origin")
        if stated.startswith(PLACEHOLDER) or _address(stated) == _address(actual):
            return None
        return f"project.urls in pyproject.toml names {stated}, origin is {actual or 'not set'}"

    def set_repository(self, url: str) -> list[str]:
        """Writes *url* into each file with the address. Returns their names."""
        stated, changed = self.repository, []
        for name in FILES:
            path = self._root / name
            if path.exists() and stated in (text := path.read_text(encoding="utf-8")):
                path.write_text(text.replace(stated, url), encoding="utf-8")
                changed.append(name)
        return changed

    def problems(self) -> list[str]:
        """Returns all problems at once."""
        checks: Mapping[str, Callable[[], str | None]] = {
            "work tree": self.work_tree,
            "changelog": self.changelog,
            "tag": self.tag,
            "address": self.address,
            "origin": self.origin,
        }
        return [problem for check in checks.values() if (problem := check()) is not None]

    def build(self) -> list[Path]:
        """Builds wheel and sdist, and returns their paths. Raises CalledProcessError."""
        dist = self._root / "dist"
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(self._root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - the interpreter of this script
        return sorted(dist.glob(f"fal_auth_proxy-{self.version}*"))

    def _git(self, *arguments: str) -> str:
        """Returns the output of git, empty where it fails."""
        command = ["git", "-C", str(self._root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def _address(url: str) -> str:
    match = _REPOSITORY.match(url)
    return url if match is None else f"{match['host']}/{match['path']}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks and builds, or sets the address. Returns the status of the process."""
    parser = argparse.ArgumentParser(prog="tools/release", description="Checks and builds a release.")
    parser.add_argument("--repository", metavar="URL", help="set the address of the repository, and build nothing")
    url = parser.parse_args(arguments).repository
    release = Release(ROOT)
    if url is not None:
        if not url.startswith("https://") or _REPOSITORY.match(url) is None or url.endswith(("/", ".git")):
            parser.error("the address must be https://<host>/<owner>/<name>")
        print("\n".join(release.set_repository(url)))
        return 0
    problems = release.problems()
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    for path in release.build():
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
