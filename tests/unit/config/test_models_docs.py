"""Configuration in docs/models.md, built as it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from support.in_process_gateway import ENVIRON, document

from proxy.app.setup.components import build_components
from proxy.config.loader import read

TEXT = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def test_eleven_models_work_as_pasted() -> None:
    """The configuration of eleven models has no problem: schemas, rules and prices fit each other."""
    components = build_components(read(document(**tomllib.loads(BLOCKS[-1])), ENVIRON, base=Path()))

    assert len(components.policies) == 11
    assert len(components.prices) == 11
    assert sum(policy.is_untyped for policy in components.policies) == 2


def test_an_endpoint_without_a_schema_is_listed_as_documented() -> None:
    """The first block lists a shipped endpoint and one that has no schema."""
    components = build_components(read(document(**tomllib.loads(BLOCKS[0])), ENVIRON, base=Path()))

    assert [policy.is_untyped for policy in components.policies] == [False, True]
