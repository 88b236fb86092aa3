"""Checker and builder of a release: version, changelog, tag, origin, then wheel and sdist in dist/.

Run it as `tools/release`. It prints each problem and ends with status 1; it publishes nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
_HEADING = re.compile(r"^## (?P<version>\S+) - (?P<date>.+)$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_REPOSITORY = re.compile(r"^(?:https://|ssh://git@|git@)(?P<host>[^/:]+)[/:](?P<path>.+?)(?:\.git)?/?$")


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

    def origin(self) -> str | None:
        project = tomllib.loads((self._root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        stated, actual = project["urls"]["Repository"], self._git("remote", "get-url", "origin")
        if _address(stated) == _address(actual):
            return None
        return f"project.urls in pyproject.toml names {stated}, origin is {actual or 'not set'}"

    def problems(self) -> list[str]:
        """Returns all problems at once."""
        checks: Mapping[str, Callable[[], str | None]] = {
            "work tree": self.work_tree,
            "changelog": self.changelog,
            "tag": self.tag,
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


def main() -> int:
    """Checks and builds. Returns the status of the process."""
    release = Release(ROOT)
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
