"""Values from parent charts and from older releases, which lack the newer ones."""

import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from .cases import EVERYTHING, MODES, MORE
from .earlier import unpacked
from .helm import CHART, NAMESPACE, REQUIRED, Manifest, helm, merged, one, render

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
ADDED: dict[str, Any] = yaml.safe_load((CHART / "files/added-values.yaml").read_text())
POD_KINDS = ("Deployment",)


def objects(text: str) -> list[Manifest]:
    return [m for m in yaml.load_all(text, yaml.CSafeLoader) if m]


# helm upgrade --reuse-values


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The values of the oldest chart from which an upgrade is supported."""
    folder = unpacked(tmp_path_factory.mktemp("earlier"))
    values: dict[str, Any] = yaml.safe_load((folder / "charts/scopewright/values.yaml").read_text())
    return values


@pytest.fixture(scope="module")
def reused(earlier: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This chart with those values in place of its own, as `--reuse-values` renders it."""
    copy = tmp_path_factory.mktemp("reused") / "scopewright"
    shutil.copytree(CHART, copy)
    values = deepcopy(earlier)
    # A list is one value: the earlier one stays in force, and refuses clients without a credential until it has None.
    assert "None" not in values["policies"]["limits"]["methods"]
    values["policies"]["limits"]["methods"] = VALUES["policies"]["limits"]["methods"]
    (copy / "values.yaml").write_text(yaml.safe_dump(values))
    return copy


@pytest.mark.parametrize("mode", ["sidecar", "deployment", "some namespaces", "nothing that may be left out"])
def test_values_of_an_earlier_chart_render_like_this_charts_defaults(reused: Path, mode: str) -> None:
    values = merged(REQUIRED, MODES[mode])
    found = helm("template", "scopewright", str(reused), "--namespace", NAMESPACE, values=values)
    assert objects(found) == render(MODES[mode])


def test_every_value_added_since_is_filled_in_with_its_default(earlier: dict[str, Any]) -> None:
    """A new value goes into files/added-values.yaml too: see templates/_defaults.tpl."""
    assert dict(leaves(ADDED)) == {path: value for path, value in leaves(VALUES) if path not in dict(leaves(earlier))}


def test_a_value_that_is_false_or_empty_is_not_filled_in() -> None:
    tracing = {"endpoint": "", "env": {}, "envFrom": ""}
    values = {"issuer": {"connectionsPerAddress": 0}, "prometheusRule": {"enabled": False}, "tracing": tracing}
    [issuer] = [c for c in pods(render(values)) if c["name"] == "issuer"]
    assert {"name": "SCOPEWRIGHT_CONNECTIONS_PER_ADDRESS", "value": "0"} in issuer["env"]


# A chart that has this one as a dependency


@pytest.fixture(scope="module")
def umbrella(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("umbrella") / "platform"
    shutil.copytree(CHART, parent / "charts" / "scopewright")
    dependency = {"name": "scopewright", "version": "0.1.0", "condition": "scopewright.enabled"}
    chart = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))
    (parent / "values.yaml").write_text(
        yaml.safe_dump({"global": {"imageRegistry": "x"}, "scopewright": {"enabled": True, **REQUIRED}})
    )
    return parent


@pytest.mark.parametrize("enabled", [True, False])
def test_a_parent_chart_enables_and_disables_the_chart_by_its_condition(umbrella: Path, enabled: bool) -> None:
    values = {"scopewright": {"enabled": enabled}}
    assert "[ERROR]" not in helm("lint", "--strict", str(umbrella), "--namespace", NAMESPACE, values=values)
    found = objects(helm("template", "platform", str(umbrella), "--namespace", NAMESPACE, values=values))
    assert bool(found) is enabled
    assert not enabled or one(found, "Deployment")["metadata"]["namespace"] == NAMESPACE


# Additions to the objects of the chart


def test_image_pull_secrets_are_names_or_objects() -> None:
    for manifest in deployments(EVERYTHING):
        pull = manifest["spec"]["template"]["spec"]["imagePullSecrets"]
        assert pull == [{"name": "registry"}, {"name": "another"}]


@pytest.mark.parametrize("mode", ["everything, sidecar", "everything, deployment"])
def test_containers_get_their_added_settings_and_the_pod_each_volume_once(mode: str) -> None:
    for manifest in deployments(MODES[mode]):
        spec = manifest["spec"]["template"]["spec"]
        assert [v for v in spec["volumes"] if v["name"] == "authorities"] == MORE["extraVolumes"]
        for container in spec["containers"]:
            added = MODES[mode][container["name"]]["extraArgs"]
            assert container["args"][-len(added) :] == added
            assert container["env"][-1] == MORE["extraEnv"][0]
            assert MORE["extraEnvFrom"][0] in container["envFrom"]
            assert MORE["extraVolumeMounts"][0] in container["volumeMounts"]


def test_common_labels_are_on_all_objects_but_crds_and_override_no_label_of_the_chart() -> None:
    common = {"example.org/cost": "platform", "app.kubernetes.io/name": "other", "app.kubernetes.io/component": "other"}
    for mode in MODES.values():
        plain = render(mode)
        for manifest, before in zip(render({**mode, "commonLabels": common}), plain, strict=True):
            if manifest["kind"] == "CustomResourceDefinition":
                continue
            for labels, own in zip(all_labels(manifest), all_labels(before), strict=True):
                assert labels["example.org/cost"] == "platform"
                assert labels["app.kubernetes.io/name"] == "scopewright"
                assert labels | {k: v for k, v in own.items() if not k.startswith("example.org/cost")} == labels
            if manifest["kind"] in POD_KINDS:
                assert manifest["spec"]["selector"] == before["spec"]["selector"]


def test_the_service_has_the_configured_settings() -> None:
    asked = EVERYTHING["service"]
    service = one(render(EVERYTHING), "Service", "scopewright-issuer")
    assert service["spec"]["ports"][0]["nodePort"] == asked["nodePort"]
    assert service["metadata"]["labels"]["example.org/exposed"] == "yes"
    named = {"type", "labels", "annotations", "nodePort"}
    assert {k: v for k, v in service["spec"].items() if k in asked} == {
        k: v for k, v in asked.items() if k not in named - {"type"}
    }
    plain = one(render(), "Service", "scopewright-issuer")
    assert plain["spec"].keys() == {"type", "selector", "ports"}


def test_the_route_has_annotations_and_labels() -> None:
    route = one(render(EVERYTHING), "HTTPRoute")["metadata"]
    assert route["annotations"] == {"example.org/a": "b"}
    assert route["labels"]["example.org/exposed"] == "yes"


def deployments(values: dict[str, Any]) -> list[Manifest]:
    return [m for m in render(values) if m["kind"] == "Deployment"]


def pods(manifests: list[Manifest]) -> Iterator[dict[str, Any]]:
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            yield from manifest["spec"]["template"]["spec"]["containers"]


def all_labels(manifest: Manifest) -> Iterator[dict[str, str]]:
    yield manifest["metadata"]["labels"]
    if manifest["kind"] in POD_KINDS:
        yield manifest["spec"]["template"]["metadata"]["labels"]


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its dotted path; an empty object is one value."""
    if not isinstance(values, dict) or not values:
        yield path, values
        return
    for name, value in values.items():
        yield from leaves(value, f"{path}.{name}".lstrip("."))
