"""examples/gitops: its manifests against the CRDs of Argo CD and Flux on a real API server, and what they install."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scopewright.api import KINDS
from tests.cluster.gitops import EXAMPLES, refusal_of_helm_release
from tests.cluster.kube import Kube, Manifest, Refused
from tests.cluster.waiting import until
from tests.controlplane import ControlPlane
from tests.go_module import go_module_file

from .foreign_objects import collection, dry_run, served
from .helm import CHART, NAMESPACE, helm

ROOT: Final = CHART.parents[1]
CRDS: Final = {
    "Application": (
        "github.com/argoproj/argo-cd/v3@v3.5.7",
        "h1:Xm1BF+I5OgDKUG3SDK49vn2/Y5AMyaNVko+/JT08gj0=",
        "manifests/crds/application-crd.yaml",
    ),
    "Kustomization": (
        "github.com/fluxcd/kustomize-controller@v1.9.6",
        "h1:XB+G3A0mky0j5uVHZWv4oSlS2RvZBoNIUhstIvY0JKE=",
        "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    ),
    "GitRepository": (
        "github.com/fluxcd/source-controller@v1.9.6",
        "h1:nG534/bI6nVpyHra7ONAk6xDB3xPsVT+EOLHZHXPrrc=",
        "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
    ),
}


def manifests(folder: str = "") -> list[Manifest]:
    files = sorted((EXAMPLES / folder).rglob("*.yaml"))
    return [m for file in files for m in yaml.safe_load_all(file.read_text())]


def of_kind(kind: str, folder: str = "") -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in manifests(folder) if m["kind"] == kind}


@pytest.fixture(scope="module")
def foreign(kube: Kube) -> Kube:
    """An API server with the CRDs of Argo CD and Flux."""
    for namespace in ("argocd", "flux-system"):
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for pinned in CRDS.values():
        for crd in yaml.load_all(go_module_file(*pinned), yaml.CSafeLoader):
            crd.pop("status", None)
            kube.apply(crd)
    for kind in CRDS:
        until(lambda k=kind: served(kube, one_of(k)))  # type: ignore[misc]
    return kube


def one_of(kind: str) -> Manifest:
    return next(iter(of_kind(kind).values()))


@pytest.mark.parametrize("kind", [*CRDS, "ConfigMap"])
def test_manifests_for_argo_cd_and_flux_are_valid_by_their_crds(foreign: Kube, kind: str) -> None:
    for manifest in of_kind(kind).values():
        dry_run(foreign, manifest)
        if kind in CRDS:
            with pytest.raises(Refused, match="unknown field"):
                dry_run(foreign, {**manifest, "spec": {**manifest["spec"], "sauce": {}}})


def test_the_helm_release_is_valid_by_fluxs_go_type() -> None:
    """Its CRD is in no Go module, but its Go type is."""
    release = one_of("HelmRelease")
    assert refusal_of_helm_release(release) == ""
    assert "sauce" in refusal_of_helm_release({**release, "spec": {**release["spec"], "sauce": {}}})


def test_every_kind_of_the_examples_is_validated() -> None:
    assert {m["kind"] for m in manifests()} == {*CRDS, "ConfigMap", "HelmRelease"}


def installed(values: dict[str, Any]) -> set[str]:
    rendered = helm("template", "scopewright", str(CHART), "--namespace", NAMESPACE, values=values)
    return {m["kind"] for m in yaml.load_all(rendered, yaml.CSafeLoader) if m}


def test_argo_cd_and_flux_install_the_chart_with_valid_values() -> None:
    source = of_kind("Application")["scopewright"]["spec"]
    release = one_of("HelmRelease")["spec"]
    assert ROOT / source["source"]["path"] == CHART == ROOT / release["chart"]["spec"]["chart"]
    assert source["destination"]["namespace"] == NAMESPACE == release["targetNamespace"]
    assert source["source"]["helm"]["releaseName"] == "scopewright" == release["releaseName"]
    for values in (source["source"]["helm"]["valuesObject"], release["values"]):
        assert "CustomResourceDefinition" in installed(values)


def test_the_example_is_applied_after_the_chart() -> None:
    waves = {
        name: int(m["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for name, m in of_kind("Application", "argocd/apps").items()
    }
    assert waves["scopewright"] < waves["hr"]
    kustomizations = of_kind("Kustomization")
    assert kustomizations["hr"]["spec"]["dependsOn"] == [{"name": "scopewright"}]
    awaited = kustomizations["scopewright"]["spec"]["healthChecks"]
    release = one_of("HelmRelease")["metadata"]
    named = {(check["kind"], check["namespace"], check["name"]) for check in awaited}
    assert named == {
        ("HelmRelease", release["namespace"], release["name"]),
        ("SigningKey", NAMESPACE, "default"),
    }


def test_every_folder_in_the_manifests_exists_and_one_has_the_whole_example() -> None:
    paths = [m["spec"]["source"]["path"] for m in of_kind("Application").values()]
    paths += [m["spec"]["path"] for m in of_kind("Kustomization").values()]
    assert all((ROOT / path).is_dir() for path in paths)
    assert sum((ROOT / path) == ROOT / "examples/hr/manifests" for path in paths) == 2


def test_all_kinds_have_the_same_health_check() -> None:
    """Because five copies would diverge."""
    prefix = "resource.customizations.health.scopewright.dev_"
    data = of_kind("ConfigMap")["argocd-cm"]["data"]
    health = {name.removeprefix(prefix): text for name, text in data.items() if name.startswith(prefix)}
    assert health.keys() == set(KINDS)
    assert len(set(health.values())) == 1
    checks = [check for m in of_kind("Kustomization").values() for check in m["spec"]["healthCheckExprs"]]
    assert len({(check["failed"], check["current"]) for check in checks}) == 1
    assert {check["kind"] for check in checks} == set(KINDS)


def test_the_commands_of_the_page_install_everything(foreign: Kube, plane: ControlPlane, tmp_path: Path) -> None:
    """Only the requests to the API server; Argo CD and Flux do not run."""
    page = (ROOT / "docs" / "gitops.md").read_text()
    commands = [
        line for block in re.findall(r"```sh\n(kubectl .*?)```", page, re.DOTALL) for line in block.splitlines()
    ]
    assert len(commands) == 3
    there = {"name": "argocd-cm", "namespace": "argocd"}
    foreign.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": there, "data": {"url": "https://argocd.example"}}
    )
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "KUBECONFIG": str(plane.kubeconfig)}
    for command in commands:
        arguments = [str(plane.kubectl), *shlex.split(command)[1:]]
        done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    merged = foreign.get("ConfigMap", "argocd", "argocd-cm")
    assert merged is not None
    assert merged["data"] == {"url": "https://argocd.example", **of_kind("ConfigMap")["argocd-cm"]["data"]}
    for manifest in (of_kind("Application")["platform"], *of_kind("Kustomization").values()):
        foreign._request("GET", f"{collection(manifest)}/{manifest['metadata']['name']}")
    for namespace in ("argocd", "flux-system"):
        foreign.delete("Namespace", "", namespace)


def test_the_page_shows_the_health_checks_of_the_files() -> None:
    blocks = re.findall(r"```(lua|yaml)\n(.*?)```", (ROOT / "docs" / "gitops.md").read_text(), re.DOTALL)
    data = of_kind("ConfigMap")["argocd-cm"]["data"]
    assert ("lua", data["resource.customizations.health.scopewright.dev_OAuthClient"]) in blocks
    [shown] = [yaml.safe_load(text) for kind, text in blocks if kind == "yaml" and "failed:" in text]
    checks = of_kind("Kustomization")["hr"]["spec"]["healthCheckExprs"]
    assert {(check["failed"], check["current"]) for check in checks} == {(shown["failed"], shown["current"])}
