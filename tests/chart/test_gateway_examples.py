"""examples/gateway: the objects for ingress-nginx, Traefik, Istio and Gateway API, by their CRDs on a real API server.

No program runs them here: tests/gateway runs the examples of nginx, Envoy, HAProxy and Caddy.
"""

from typing import Final

import pytest
import yaml

from tests.cluster.kube import Kube, Manifest, Refused
from tests.cluster.waiting import until
from tests.go_module import go_module_file

from .foreign_objects import dry_run, served
from .helm import CHART

EXAMPLES: Final = CHART.parents[1] / "examples/gateway"
FILES: Final = (
    "ingress-nginx/ingress.yaml",
    "traefik/traefik.yaml",
    "istio/istio.yaml",
    "gateway-api/gateway-api.yaml",
)
_GATEWAY_API: Final = ("sigs.k8s.io/gateway-api@v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=")
_TRAEFIK: Final = ("github.com/traefik/traefik/v3@v3.7.13", "h1:T8wy9KuaFzCkmXCqAzDy7t73pBDR1DHrJe3pqXpNXTw=")
_ISTIO: Final = ("istio.io/api@v1.32.0", "h1:37mJvg9I0biYZAEQF+MATs4FNeCpXEIVO3LFpVb6iNM=")
CRDS: Final = (
    *(
        (*_GATEWAY_API, f"config/crd/experimental/gateway.networking.k8s.io_{plural}.yaml")
        for plural in ("gateways", "httproutes", "referencegrants")
    ),
    *(
        (*_TRAEFIK, f"docs/content/reference/dynamic-configuration/traefik.io_{plural}.yaml")
        for plural in ("middlewares", "ingressroutes")
    ),
    (*_ISTIO, "kubernetes/customresourcedefinitions.gen.yaml"),
)


def manifests(file: str) -> list[Manifest]:
    return list(yaml.safe_load_all((EXAMPLES / file).read_text()))


@pytest.fixture(scope="module")
def foreign(kube: Kube) -> Kube:
    """An API server with the CRDs of Traefik, Istio and Gateway API, and the namespaces of the examples."""
    used = {manifest["kind"] for file in FILES for manifest in manifests(file)}
    for namespace in sorted({m["metadata"]["namespace"] for file in FILES for m in manifests(file)}):
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for pinned in CRDS:
        for crd in yaml.load_all(go_module_file(*pinned), yaml.CSafeLoader):
            if crd and crd["spec"]["names"]["kind"] in used:
                crd.pop("status", None)
                kube.apply(crd)
    for file in FILES:
        for manifest in manifests(file):
            until(lambda m=manifest: served(kube, m))  # type: ignore[misc]
    return kube


@pytest.mark.parametrize("file", FILES)
def test_the_objects_are_valid_by_their_crds(foreign: Kube, file: str) -> None:
    for manifest in manifests(file):
        dry_run(foreign, manifest)
        with pytest.raises(Refused, match="unknown field"):
            dry_run(foreign, {**manifest, "spec": {**manifest["spec"], "sauce": {}}})


def test_every_kubernetes_example_is_validated() -> None:
    found = {
        str(file.relative_to(EXAMPLES))
        for file in EXAMPLES.rglob("*.yaml")
        if any("apiVersion" in (each or {}) for each in yaml.safe_load_all(file.read_text()))
    }
    assert found == set(FILES)


def test_each_example_pins_the_hostname_and_replaces_every_identity_header() -> None:
    pinned = {
        "nginx/nginx.conf": "nginx",
        "envoy/envoy.yaml": "envoy",
        "haproxy/haproxy.cfg": "haproxy",
        "caddy/Caddyfile": "caddy",
        "ingress-nginx/ingress.yaml": "ingress-nginx",
        "traefik/traefik.yaml": "traefik",
        "istio/mesh-config.yaml": "envoy",
        "gateway-api/gateway-api.yaml": "envoy",
    }
    by_prefix = {"envoy/envoy.yaml", "haproxy/haproxy.cfg"}
    for file, profile in pinned.items():
        text = (EXAMPLES / file).read_text()
        assert f"/auth/{profile}/payroll.hr.example" in text, file
        for name in ("subject", "client", "scope", "roles", "token-id"):
            assert file in by_prefix or f"x-auth-{name}" in text.lower(), (file, name)
