"""Alerts fire on the right figures; queries of alerts and dashboard use exported metrics and labels."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tests.of_docs import of_docs

from .cases import EVERYTHING
from .helm import NAMESPACE, ROOT, Manifest, merged, one, render
from .promtool import promtool

RULES = {
    "prometheusRule": {"enabled": True},
    "networkPolicy": {"enabled": False},
    "gateway": {"enabled": True, "profiles": ["nginx"]},
}
"""All alerts."""
DASHBOARD = {"dashboard": {"enabled": True}}
CASES = Path(__file__).with_name("alerts.yaml")
VARIABLES = {"$namespace": NAMESPACE, "$__rate_interval": "5m"}
SCRAPE_LABELS = {"namespace", "pod", "container", "service", "endpoint", "job", "instance", "node"}
"""Labels that the Prometheus operator sets. Without honorLabels an exported label of that name becomes `exported_…`."""


def rules(manifests: list[Manifest]) -> list[dict[str, Any]]:
    return [rule for group in one(manifests, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    [content] = one(render(DASHBOARD), "ConfigMap", "scopewright-dashboard")["data"].values()
    loaded: dict[str, Any] = json.loads(content)
    return loaded


def queries() -> dict[str, str]:
    """The queries of the dashboard as Grafana sends them, by panel and reference."""
    found = {}
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found[f"{panel['title']} {target['refId']}"] = expression
    return found


def expressions() -> list[str]:
    """The expressions of alerts and dashboard."""
    return [*(rule["expr"] for rule in rules(render(RULES))), *queries().values()]


def test_each_alert_fires_on_its_figures_only(tmp_path: Path) -> None:
    rendered = one(render(RULES), "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rendered))
    (tmp_path / "cases.yaml").write_text(CASES.read_text())
    output = promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yaml"))
    assert f"{len(rules(render(RULES)))} rules found" in output
    promtool("test", "rules", str(tmp_path / "cases.yaml"))


def test_each_alert_has_figures_that_fire_and_figures_that_do_not() -> None:
    asked: dict[str, set[bool]] = {}
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for alert in case["alert_rule_test"]:
            asked.setdefault(alert["alertname"], set()).add(bool(alert.get("exp_alerts")))
    assert asked == {rule["alert"]: {True, False} for rule in rules(render(RULES))}


def test_each_alert_has_a_severity_and_an_existing_runbook() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    anchors = {f"#{heading.lower()}" for heading in re.findall(r"^### (\w+)$", page, re.MULTILINE)}
    for rule in rules(render(RULES)):
        assert rule["labels"] == {"severity": rule["labels"]["severity"], "namespace": NAMESPACE}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        where, anchor = rule["annotations"]["runbook_url"].split("#")
        assert where == "docs/metrics.md"
        assert f"#{anchor}" in anchors
        assert anchor == rule["alert"].lower()
    for rule in rules(render(EVERYTHING)):
        assert rule["annotations"]["runbook_url"].startswith("https://example.org/runbooks#")


def test_alerts_of_the_gateway_are_added_with_the_gateway() -> None:
    """Otherwise the alert for its absence would always fire."""
    with_gateway = rules(render(RULES))
    without = rules(render(merged(RULES, {"gateway": {"enabled": False}})))
    assert without == [rule for rule in with_gateway if not rule["alert"].startswith("ScopewrightGateway")]
    assert len(with_gateway) > len(without)


def test_alerts_and_dashboard_use_exported_metrics_only() -> None:
    exported = of_docs("metrics").names()
    asked = {name for expression in expressions() for name in re.findall(r"\bscopewright_\w+", expression)}
    assert len(asked) > 20
    assert asked - exported == set()
    unseen = exported - {name for e in queries().values() for name in re.findall(r"\bscopewright_\w+", e)}
    assert not {name for name in unseen if not name.endswith(("_sum", "_count", "_bucket"))}


@pytest.mark.parametrize("families", ["operator_families", "issuer_families", "gateway_families"])
def test_metric_names_and_types_follow_prometheus_conventions(families: str) -> None:
    """Units, suffixes and help texts."""

    class Families(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from getattr(of_docs("metrics"), families)()

    registry = CollectorRegistry()
    registry.register(Families())
    text = generate_latest(registry).decode()
    assert text.count("# TYPE") > 5
    assert promtool("check", "metrics", given=text) == ""


def test_labels_in_queries_exist_with_the_queried_values() -> None:
    """Except labels that Prometheus adds."""
    values = of_docs("metrics").label_values()
    checked = 0
    for expression in expressions():
        for name, selector in re.findall(r"(scopewright_\w+)\{([^}]*)\}", expression):
            for label, operator, wanted in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
                if label == "namespace":
                    assert wanted == NAMESPACE
                    continue
                known = values[name][label]
                assert set(wanted.split("|") if operator == "=~" else [wanted]) <= known, (name, label)
                checked += 1
    assert checked > 10


def test_no_exported_label_is_one_that_a_scrape_sets() -> None:
    exported = {label for labels in of_docs("metrics").label_values().values() for label in labels}
    assert len(exported) > 5
    assert exported & SCRAPE_LABELS == set()
    for expression in expressions():
        assert "exported_" not in expression


def test_queries_group_by_labels_of_their_metrics() -> None:
    """Exported labels or those that a scrape sets. Any other label gives one group and an empty legend."""
    values = of_docs("metrics").label_values()
    checked = 0
    for expression in expressions():
        asked = re.findall(r"\bscopewright_\w+", expression)
        known = {label for name in asked for label in values[name]} | SCRAPE_LABELS - {"endpoint"} | {"le"}
        for labels in re.findall(r"\b(?:by|on|ignoring|without) ?\(([\w, ]*)\)", expression):
            assert set(re.findall(r"\w+", labels)) <= known, expression
            checked += 1
    assert checked > 10


def test_every_query_of_the_dashboard_is_valid_promql(tmp_path: Path) -> None:
    recorded = [{"record": f"query:{n}", "expr": expression} for n, expression in enumerate(queries().values())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in promtool("check", "rules", str(file))


def test_the_dashboard_has_its_label_and_uses_the_selected_data_source() -> None:
    assert (
        one(render(DASHBOARD), "ConfigMap", "scopewright-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"
    )
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["description"]
            assert all('namespace="$namespace"' in target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("kind", ["PrometheusRule", "ServiceMonitor"])
def test_objects_for_the_prometheus_operator_are_rendered_only_if_enabled(kind: str) -> None:
    assert kind not in {m["kind"] for m in render()}
    assert one(render(EVERYTHING), kind)["metadata"]["labels"]["release"] == "prometheus"
