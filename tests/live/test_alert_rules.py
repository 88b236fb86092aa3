from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from support.gateway_process import program
from support.metric_table import all_families

DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = re.compile(r"\b((?:fal_proxy|process|python)_\w+)(?:\{([^}]*)\})?")
OF_PROMETHEUS = {"job", "instance", "le", "severity"}


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_shipped_files_are_valid() -> None:
    """promtool takes the rules, and the configuration that loads them."""
    assert "17 rules found" in promtool("check", "config", "prometheus.yml")


def test_each_alert_fires_on_its_trouble_alone() -> None:
    """Every alert has a test with its trouble, and none fires in the calm one."""
    alerts = re.findall(r"alert: (\w+)", (DEPLOY / "prometheus/rules.yml").read_text(encoding="utf-8"))
    tested = re.findall(r"  - name: (\w+)", (DEPLOY / "prometheus/rules-test.yml").read_text(encoding="utf-8"))

    assert tested == [*alerts, "calm"]
    assert "SUCCESS" in promtool("test", "rules", "rules-test.yml")


async def metrics() -> dict[str, set[str]]:
    """Returns the labels of each name that a scrape may have."""
    names: dict[str, set[str]] = {}
    for family in await all_families():
        suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}[family.kind]
        names |= {family.name + suffix: {*family.labels} for suffix in suffixes}
    return names


async def assert_known(expressions: list[str]) -> None:
    known = await metrics()
    found = [match for expression in expressions for match in NAME.finditer(expression)]
    assert found
    for match in found:
        labels = set(re.findall(r"(\w+)\s*=", match[2] or ""))
        assert match[1] in known, f"there is no metric {match[1]}"
        assert labels <= known[match[1]] | OF_PROMETHEUS, f"{match[1]} has no such label: {labels}"


async def test_the_rules_name_metrics_that_exist() -> None:
    """Rules and their tests name metrics and labels of the gateway."""
    for name in ("rules.yml", "rules-test.yml"):
        await assert_known([(DEPLOY / "prometheus" / name).read_text(encoding="utf-8")])


async def test_the_dashboard_names_metrics_that_exist() -> None:
    """Every panel and variable of the dashboard has metrics and labels of the gateway."""
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text(encoding="utf-8"))
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    variables = [one["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]

    assert len(targets) > 30
    await assert_known([*targets, *variables])
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
