"""Values: every mode renders, invalid values are refused with a message, and every value has an effect."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from scopewright.api import KINDS
from scopewright.core.config import Config

from .cases import GATEWAY, MODES, MORE
from .helm import CHART, NAMESPACE, REQUIRED, Refused, helm, merged, one, render, template

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_linted_and_rendered(mode: str) -> None:
    output = helm("lint", "--strict", str(CHART), "--namespace", NAMESPACE, values=merged(REQUIRED, MODES[mode]))
    assert "[WARNING]" not in output
    assert one(render(MODES[mode]), "ConfigMap", "scopewright-operator")["data"]["config.yaml"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"issuer": {"url": ""}}, "issuer.url is required: the issuer identifier"),
        ({"image": {"repository": ""}}, "image.repository is required"),
        ({"issuer": {"url": "http://issuer.example.org"}}, "'/issuer/url'"),
        ({"issuer": {"url": "https://issuer.example.org/"}}, "'/issuer/url'"),
        ({"issuer": {"url": "https://issuer.example.org?a=b"}}, "'/issuer/url'"),
        ({"issuer": {"mode": "none"}}, "'/issuer/mode': value must be one of 'sidecar', 'deployment', 'both'"),
        ({"isuer": {}}, "additional properties 'isuer' not allowed"),
        ({"issuer": {"trustedProxies": ["0.0.0.0/0"]}}, "'/issuer/trustedProxies/0'"),
        ({"issuer": {"trustedProxies": ["proxy.example"]}}, "'/issuer/trustedProxies/0'"),
        ({"operator": {"replicas": 0}}, "'/operator/replicas': minimum"),
        ({"operator": {"resources": {"request": {}}}}, "additional properties 'request' not allowed"),
        ({"config": {"maxTokenLifetime": "1 hour"}}, "'/config/maxTokenLifetime'"),
        ({"config": {"issuer": "https://other.example"}}, "additional properties 'issuer' not allowed"),
        ({"config": {"gateway": {"hostname": "a.example"}}}, "additional properties 'hostname' not allowed"),
        ({"config": {"gateway": {"hostnames": [{"hostname": "a.example"}]}}}, "'/config/gateway/hostnames/0'"),
        ({"config": {"gateway": {"unauthenticatedPaths": ["healthz"]}}}, "'/config/gateway/unauthenticatedPaths/0'"),
        ({"config": {"workers": 0}}, "'/config/workers'"),
        ({"config": {"lease": {"duration": 15}}}, "'/config/lease/duration'"),
        ({"config": {"kubeApi": {"rate": 5}}}, "additional properties 'rate' not allowed"),
        ({"config": {"name": "a' || true || '"}}, "'/config/name'"),
        ({"policies": {"limits": {"maxSecretAge": "ninety days"}}}, "'/policies/limits/maxSecretAge'"),
        ({"policies": {"limits": {"methods": ["Password"]}}}, "'/policies/limits/methods/0'"),
        ({"pods": {"runAsUser": 0}}, "'/pods/runAsUser': minimum"),
        ({"pods": {"topologySpread": [{"topologyKey": "zone"}]}}, "missing properties"),
        ({"networkPolicy": {"apiServer": {"cidrs": ["everywhere"]}}}, "'/networkPolicy/apiServer/cidrs/0'"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "'/podDisruptionBudget/maxUnavailable'"),
        ({"image": {"digest": "latest"}}, "'/image/digest'"),
        ({"tracing": {"endpoint": "collector:4318"}}, "'/tracing/endpoint'"),
        ({"tracing": {"env": {"PATH": "/tmp"}}}, "additional properties 'PATH' not allowed"),
        ({"tracing": {"envFrom": [{"secretRef": {"name": "x"}}]}}, "'/tracing/envFrom'"),
        ({"prometheusRule": {"runbooks": "docs/metrics.md#alerts"}}, "'/prometheusRule/runbooks'"),
        ({"enabled": False}, "enabled=false is only for a parent chart that has this chart as a dependency"),
        ({"image": {"pullSecrets": [{"secret": "x"}]}}, "'/image/pullSecrets/0'"),
        ({"operator": {"extraArgs": ["verbose"]}}, "'/operator/extraArgs/0'"),
        ({"issuer": {"extraVolumes": [{"emptyDir": {}}]}}, "'/issuer/extraVolumes/0'"),
        ({"issuer": {"extraVolumes": [{"name": "snapshot"}]}}, "the volume name snapshot is reserved by the chart"),
        (
            {
                "operator": {"extraVolumes": [{"name": "a", "emptyDir": {}}]},
                "issuer": {"extraVolumes": [{"name": "a"}]},
            },
            "operator and issuer each have a volume a, and the two differ",
        ),
        ({"gateway": {"enabled": True}}, "gateway.profiles is required with gateway.enabled: the profiles of"),
        (
            {"gateway": {"enabled": True, "profiles": ["nginx"]}},
            "networkPolicy.gatewayFrom is required with gateway.enabled: the Pods of your proxies",
        ),
        (
            {"gateway": {"profiles": ["apache"]}},
            "'/gateway/profiles/0': value must be one of 'nginx', 'ingress-nginx', 'envoy', 'caddy',",
        ),
        ({"gateway": {"identityHeaders": {"sub": "X-User"}}}, "additional properties 'sub' not allowed"),
        ({"gateway": {"identityHeaders": {"subject": "X_User"}}}, "'/gateway/identityHeaders/subject'"),
        ({"gateway": {"workers": 0}}, "'/gateway/workers'"),
        (merged(GATEWAY, {"gateway": {"tls": {"enabled": True}}}), "gateway.tls.enabled needs a certificate"),
        (
            merged(GATEWAY, {"gateway": {"tls": {"certManager": {"enabled": True}}}}),
            "set gateway.tls.enabled=true as well",
        ),
        (
            merged(GATEWAY, {"gateway": {"autoscaling": {"minReplicas": 9}}}),
            "gateway.autoscaling.minReplicas is more than maxReplicas",
        ),
        (
            merged(GATEWAY, {"gateway": {"extraVolumes": [{"name": "tls"}]}}),
            "gateway.extraVolumes: the volume name tls is reserved by the chart",
        ),
        ({"service": {"type": "ExternalName"}}, "'/service/type'"),
        ({"service": {"nodePort": 30443}}, "need service.type NodePort or LoadBalancer"),
        ({"service": {"type": "NodePort", "loadBalancerClass": "x"}}, "need service.type LoadBalancer"),
        ({"service": {"allocateLoadBalancerNodePorts": False}}, "need service.type LoadBalancer"),
        ({"tls": {"enabled": True}}, "tls.enabled needs a certificate"),
        ({"tls": {"certManager": {"enabled": True}}}, "set tls.enabled=true as well"),
        ({"tls": {"enabled": True, "certManager": {"enabled": True}}}, "tls.certManager.issuerRef.name is required"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is required"),
        ({"serviceMonitor": {"enabled": True}}, "networkPolicy.metricsFrom is required"),
        ({"prometheusRule": {"enabled": True}}, "networkPolicy.metricsFrom is required"),
        (
            {"issuer": {"mode": "deployment", "autoscaling": {"minReplicas": 9}}},
            "issuer.autoscaling.minReplicas is more than maxReplicas",
        ),
        (
            {"users": {"enabled": True}},
            "exactly one issuer Pod, because the sessions of users are in a file: with issuer.mode=sidecar the issuer",
        ),
        (
            {"users": {"enabled": True}, "issuer": {"mode": "deployment", "replicas": 1}},
            "set issuer.replicas=1 and issuer.autoscaling.enabled=false",
        ),
        ({"users": {"enabled": True}, "operator": {"replicas": 3}}, "so set operator.replicas=1"),
        (
            {"users": {"enabled": True}, "issuer": {"mode": "deployment", "autoscaling": {"enabled": False}}},
            "set issuer.replicas=1 and issuer.autoscaling.enabled=false",
        ),
        (
            {"users": {"enabled": True}, "issuer": {"mode": "both"}},
            "issuer.mode=both has several. Set users.enabled=false until",
        ),
        ({"users": {"sessions": {"persistence": {"size": "much"}}}}, "'/users/sessions/persistence/size'"),
        (
            {"users": {"sessions": {"persistence": {"accessModes": ["ReadWriteMany"]}}}},
            "'/users/sessions/persistence/accessModes/0'",
        ),
        ({"users": {"sessions": {"valkey": {"secretName": "no name"}}}}, "'/users/sessions/valkey/secretName'"),
        ({"users": {"sessions": {"valkey": {"url": "redis://host"}}}}, "additional properties 'url' not allowed"),
        (
            {"users": {"enabled": True}, "operator": {"replicas": 2}},
            "or share the sessions: users.sessions.valkey.secretName",
        ),
        ({"users": {"sessions": {"file": "x"}}}, "additional properties 'file' not allowed"),
        ({"issuer": {"extraVolumes": [{"name": "sessions"}]}}, "the volume name sessions is reserved by the chart"),
    ],
    ids=str,
)
def test_invalid_values_are_refused_with_a_message(values: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        template(values)
    assert message in str(refused.value)


@pytest.mark.parametrize("monitored", [{"serviceMonitor": {"enabled": True}}, {"prometheusRule": {"enabled": True}}])
@pytest.mark.parametrize("readers", [{"metricsFrom": [{"namespaceSelector": {}}]}, {"enabled": False}])
def test_monitored_pods_can_be_scraped(monitored: dict[str, Any], readers: dict[str, Any]) -> None:
    assert template({**monitored, "networkPolicy": readers})


def test_the_schema_and_the_values_file_have_the_same_values() -> None:
    of_schema = {path for path in declared(SCHEMA) if not path.startswith(("global", "config."))}
    of_file = {path for path, _ in leaves(VALUES)} - {"config"}
    assert of_schema == of_file


def test_the_schema_refuses_unknown_values() -> None:
    def closed(schema: Any) -> Iterator[bool]:
        if isinstance(schema, dict):
            if "properties" in schema:
                yield schema.get("additionalProperties") is False
            for value in schema.values():
                yield from closed(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from closed(value)

    assert all(closed(SCHEMA))


def test_the_schema_of_the_configuration_is_the_operators() -> None:
    fields = {field.alias or name for name, field in Config.model_fields.items()}
    assert set(SCHEMA["properties"]["config"]["properties"]) == fields - {
        "issuer",
        "namespace",
        "watchNamespaces",
    }


def test_the_rendered_configuration_is_valid() -> None:
    for mode in MODES.values():
        Config.model_validate(
            yaml.safe_load(one(render(mode), "ConfigMap", "scopewright-operator")["data"]["config.yaml"])
        )


def test_token_review_sets_both_the_right_and_the_configuration() -> None:
    for clusters in ({}, {"clusters": [{"name": "eu-1", "issuer": "https://oidc.example"}, {"name": "in-cluster"}]}):
        manifests = render({"issuer": {"tokenReview": True}, "config": clusters})
        config = Config.model_validate(
            yaml.safe_load(one(manifests, "ConfigMap", "scopewright-operator")["data"]["config.yaml"])
        )
        assert {cluster.name for cluster in config.clusters if cluster.token_review} == {"in-cluster"}
        assert one(manifests, "ClusterRole", "scopewright-issuer")


def test_every_value_has_an_effect() -> None:
    """A change of each value changes the rendered objects in some mode."""
    modes = (
        "everything, sidecar",
        "everything, deployment",
        "deployment of a fixed size",
        "a given certificate",
        "users, sidecar",
        "users, shared sessions",
        "gateway of a fixed size, with a given certificate",
    )
    bases = [MODES[mode] for mode in modes]
    before = [template(base) for base in bases]

    def matters(path: str, value: Any) -> bool:
        # The modes that set values of the same part come first.
        for base, text in sorted(zip(bases, before, strict=True), key=lambda mode: path.split(".")[0] not in mode[0]):
            current = at(merged(merged(VALUES, REQUIRED), base), path)
            try:
                if template(merged(base, nested(path, other(path, current)))) != text:
                    return True
            except Refused:
                continue
        return False

    with ThreadPoolExecutor(2) as pool:
        checked = {path: pool.submit(matters, path, value) for path, value in leaves(VALUES)}
    assert [path for path, live in checked.items() if not live.result()] == ["enabled"], "only umbrella charts read it"


def test_crds_are_installed_and_kept_on_uninstall() -> None:
    crds = [m for m in render() if m["kind"] == "CustomResourceDefinition"]
    assert {crd["spec"]["names"]["kind"] for crd in crds} == {kind.KIND for kind in KINDS.values()}
    for crd in crds:
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        source = (CHART.parents[1] / "crds" / f"{crd['spec']['names']['plural']}.yaml").read_text()
        assert crd == yaml.safe_load(source)


PARTS = ("operator", "issuer", "gateway")
AMOUNTS = (".resources.requests", ".resources.limits")


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its dotted path; an empty object, a list, or an object of the Kubernetes API is one value."""
    if not isinstance(values, dict) or not values or path.endswith(AMOUNTS):
        yield path, values
        return
    for name, value in values.items():
        yield from leaves(value, f"{path}.{name}".lstrip("."))


def declared(schema: Any, path: str = "") -> Iterator[str]:
    """The dotted paths of a schema."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    if "properties" not in schema or path.endswith(AMOUNTS):
        yield path
        return
    for name, value in schema["properties"].items():
        yield from declared(value, f"{path}.{name}".lstrip("."))


def at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values[name]
    return values


def nested(path: str, value: Any) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def other(path: str, value: Any) -> Any:
    """Another value that the schema probably accepts."""
    special: dict[str, Any] = {
        "issuer.mode": "deployment" if value == "sidecar" else "sidecar",
        "issuer.url": "https://other.example.org",
        "image.digest": f"sha256:{'1' * 64}",
        "image.pullPolicy": "Always",
        "image.pullSecrets": ["other"],
        "log.format": "text",
        "log.level": "debug",
        "config": {"name": "green"},
        "policies.limits.maxSecretAge": "24h",
        "policies.limits.methods": ["ClientSecret"],
        "service.type": "NodePort",
        "service.port": 8443,
        "serviceMonitor.interval": "7s",
        "httpRoute.parentRefs": [{"name": "other"}],
        "issuer.connectionMemory": "32Mi",
        "issuer.replay.capacity": 250000,
        "issuer.trustedProxies": ["10.2.0.0/24"],
        "networkPolicy.apiServer.cidrs": ["10.0.0.2/32"],
        "networkPolicy.apiServer.ports": [8443],
        "networkPolicy.identityProviders.cidrs": ["10.0.0.3/32"],
        "networkPolicy.identityProviders.ports": [8443],
        "users.sessions.persistence.size": "2Gi",
        "users.sessions.persistence.accessModes": ["ReadWriteOncePod"],
        "tracing.endpoint": "http://other.example:4318",
        "tracing.env": {"OTEL_TRACES_SAMPLER": "always_on"},
        "service.clusterIP": "10.96.0.7",
        "service.externalTrafficPolicy": "Cluster",
        "service.internalTrafficPolicy": "Cluster",
        "service.ipFamilyPolicy": "SingleStack",
        "service.ipFamilies": ["IPv6"],
        "service.loadBalancerSourceRanges": ["192.0.2.0/24"],
        "gateway.profiles": ["traefik"],
        "gateway.identityHeaders": {"client": "X-Client"},
        "gateway.connectionMemory": "32Mi",
        "gateway.replay.capacity": 250000,
        "gateway.service.port": 8443,
        "networkPolicy.issuer.cidrs": ["10.0.0.4/32"],
        "networkPolicy.issuer.ports": [8443],
        **{f"{part}.extraArgs": ["--log-level=error"] for part in PARTS},
        **{f"{part}.{more}": [] for part in PARTS for more in MORE},
        "watchNamespaces": ["payroll"],
        "pods.topologySpread": [],
        "pods.affinity": {"podAffinity": {}},
    }
    if path in special:
        return special[path]
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return "other"
        case list():
            return [{"podSelector": {"matchLabels": {"other": "other"}}}]
    return {"cpu": "3"} if path.endswith(("requests", "limits")) else {"other": "other"}
