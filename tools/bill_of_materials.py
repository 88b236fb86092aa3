"""Writer of the bill of materials of the wheel (CycloneDX), for `make dist`.

cyclonedx-py lists the packages of lock/production.txt with their hashes. It knows neither the version of the wheel, nor
what requires what, nor licences: those are added here, by the metadata of the packages. The result is validated.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema_rs
from licences import licence
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".venv-deploy/bin"
DIST = ROOT / "dist"
NAME = "fal-auth-proxy"
SCHEMAS = ("bom-1.6.SNAPSHOT.schema.json", "spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
_BASE = "http://cyclonedx.org/schema/"
EXTRAS = frozenset({"expressions"})  # as in lock/production.txt

Bill: TypeAlias = "dict[str, Any]"  # a CycloneDX document


def listed() -> Bill:
    """Returns the bill of cyclonedx-py: the packages of the lock file."""
    command = [str(TOOLS / "cyclonedx-py"), "requirements", "lock/production.txt", "--pyproject", "pyproject.toml"]
    options = ["--mc-type", "application", "--output-reproducible", "--of", "JSON", "--no-validate", "-o", "-"]
    found = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    bill: Bill = json.loads(found.stdout)
    return bill


def completed(bill: Bill, version: str, wheel: Path | None) -> Bill:
    """Returns *bill* with version and file of the wheel, licences, and what requires what."""
    root, components = bill["metadata"]["component"], bill["components"]
    root |= {"version": version, "purl": f"pkg:pypi/{NAME}@{version}"}
    if wheel is not None:
        digest = {"alg": "SHA-256", "content": sha256(wheel.read_bytes()).hexdigest()}
        root["externalReferences"].append({"type": "distribution", "url": wheel.name, "hashes": [digest]})
    references: dict[str, list[str]] = {}
    for component in components:
        references.setdefault(canonicalize_name(component["name"]), []).append(component["bom-ref"])
        component["licenses"] = [{"license": {"name": licence(component["name"]), "acknowledgement": "declared"}}]
    edges = {root["bom-ref"]: _needed(references, NAME, EXTRAS)}
    extras = _requested_extras()
    for component in components:
        name = canonicalize_name(component["name"])
        edges[component["bom-ref"]] = _needed(references, name, extras.get(name, frozenset()))
    bill["dependencies"] = [
        {"ref": reference, "dependsOn": needed} if needed else {"ref": reference}
        for reference, needed in sorted(edges.items())
    ]
    return bill


def _needed(references: dict[str, list[str]], name: str, extras: frozenset[str]) -> list[str]:
    """Returns the references of all that the package *name* requires, with *extras* of it."""
    names = {canonicalize_name(requirement.name) for requirement in _requirements(name, extras)}
    return sorted(reference for needed in names for reference in references.get(needed, ()))


def _requirements(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """Yields the requirements of *name* on this platform, none for a package of another one."""
    try:
        texts: Iterable[str] = requires(name) or ()
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, texts):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras | {""}):
            yield requirement


def _requested_extras() -> dict[str, frozenset[str]]:
    """Returns the extras that the wheel asks of its requirements, as `pyjwt[crypto]`."""
    return {canonicalize_name(one.name): frozenset(one.extras) for one in _requirements(NAME, EXTRAS)}


def validate(bill: Bill) -> None:
    """Validates *bill* against the schema of CycloneDX. Raises jsonschema_rs.ValidationError."""
    # With jsonschema-rs, as the package's own validator takes 8 s.
    (folder,) = TOOLS.parent.glob("lib/python*/site-packages/cyclonedx/schema/_res")
    schemas = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / name for name in SCHEMAS)]
    registry = jsonschema_rs.Registry(list(zip(map(_BASE.__add__, SCHEMAS), schemas, strict=True)))
    jsonschema_rs.Draft7Validator(schemas[0], registry=registry, validate_formats=True).validate(bill)


def main() -> int:
    """Writes the bill beside the wheel in dist/. Returns the status of the process."""
    (wheel,) = DIST.glob("*.whl")
    version = re.findall(r"-([^-]+)-py3", wheel.name)[0]
    if metadata(NAME)["Version"] != version:
        print(f"the environment has {NAME} {metadata(NAME)['Version']}, dist/ has {version}", file=sys.stderr)
        return 1
    bill = completed(listed(), version, wheel)
    validate(bill)
    (DIST / f"{NAME}.cdx.json").write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
