"""Tests of the bill of materials against the wheel's metadata and the lock file."""

from __future__ import annotations

import re
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from bill_of_materials import ROOT, completed, listed, validate
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Returns the bill of a wheel."""
    wheel = tmp_path_factory.mktemp("dist") / "fal_auth_proxy-1.2.3-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    return completed(listed(), "1.2.3", wheel)


def needed(bill: dict[str, Any], reference: str) -> set[str]:
    """Returns the names that *reference* depends on."""
    names = {component["bom-ref"]: canonicalize_name(component["name"]) for component in bill["components"]}
    (edges,) = [edge for edge in bill["dependencies"] if edge["ref"] == reference]
    return {names[target] for target in edges.get("dependsOn", ())}


def test_the_bill_is_valid(bill: dict[str, Any]) -> None:
    """The schema of CycloneDX accepts the bill, and refuses one with a member that it does not have."""
    validate(bill)

    with pytest.raises(jsonschema_rs.ValidationError):
        validate({**bill, "wheels": 1})


def test_the_bill_is_of_the_wheel(bill: dict[str, Any]) -> None:
    """The subject has the version, the address in the index and the digest of the file."""
    subject = bill["metadata"]["component"]

    assert (subject["name"], subject["version"]) == ("fal-auth-proxy", "1.2.3")
    assert subject["purl"] == "pkg:pypi/fal-auth-proxy@1.2.3"
    assert subject["externalReferences"][-1]["hashes"][0]["content"].startswith("ba599261")


def test_all_that_the_wheel_requires_is_in_the_bill(bill: dict[str, Any]) -> None:
    """The subject depends on each requirement of the wheel, with those of expressions, and on no others."""
    required = {
        canonicalize_name(one.name)
        for one in map(Requirement, distribution("fal-auth-proxy").requires or ())
        if one.marker is None or one.marker.evaluate({"extra": "expressions"})
    }

    assert needed(bill, bill["metadata"]["component"]["bom-ref"]) == required


def test_the_packages_are_those_of_the_lock(bill: dict[str, Any]) -> None:
    """Names, versions and hashes are the ones that are installed, each with a licence."""
    text = (ROOT / "lock/production.txt").read_text()
    locked = set(re.findall(r"^([\w.-]+)(?:\[\w+\])?==([\w.]+)", text, re.MULTILINE))

    assert {(component["name"], component["version"]) for component in bill["components"]} == locked
    for component in bill["components"]:
        assert component["purl"] == f"pkg:pypi/{component['name']}@{component['version']}"
        assert all(one["content"] in text for ref in component["externalReferences"] for one in ref["hashes"])
        assert component["licenses"][0]["license"]["name"] not in ("", "not stated")


def test_what_is_reached_from_the_wheel_is_all_of_the_bill(bill: dict[str, Any]) -> None:
    """Each package is required by the wheel or by another one, but those of other platforms."""
    reached = set[str]()
    waiting = [bill["metadata"]["component"]["bom-ref"]]
    edges = {edge["ref"]: edge.get("dependsOn", []) for edge in bill["dependencies"]}
    while waiting:
        reference = waiting.pop()
        if reference not in reached:
            reached.add(reference)
            waiting += edges[reference]
    rest = {component["name"] for component in bill["components"] if component["bom-ref"] not in reached}

    assert rest <= {"async-timeout", "httpx2-jsfetch", "colorama"}
    assert version("starlette") in {one["version"] for one in bill["components"] if one["name"] == "starlette"}


def test_the_workflow_ships_it() -> None:
    """The release builds the bill with the wheel, and attests both."""
    workflow = Path(ROOT / ".github/workflows/release.yml").read_text()

    assert "make dist" in workflow
    assert "subject-path: dist/*" in workflow
