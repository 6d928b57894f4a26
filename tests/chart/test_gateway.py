"""The rendered gateway: least rights, reachable by the named proxies only, and nothing of it by default."""

import json
import re
from typing import Any

import pytest
import yaml

from scopewright.cli.gateway_options import identity_headers
from scopewright.core.config import Config
from scopewright.gateway.identity_headers import DEFAULT_NAMES
from scopewright.gateway.profiles import PROFILES

from .cases import EVERYTHING, GATEWAY, MODES
from .helm import CHART, NAMESPACE, ROOT, Manifest, merged, one, render
from .test_templates import IDENTITY, containers, granted, pods

FIXED = MODES["gateway of a fixed size, with a given certificate"]
KINDS = {
    "Deployment", "Service", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
}  # fmt: skip


def settings(manifests: list[Manifest]) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in containers(manifests)["gateway"]["env"]}


@pytest.mark.parametrize("mode", ["sidecar", "deployment", "both, on the way from one to the other"])
def test_the_gateway_adds_its_own_objects_and_changes_no_other(mode: str) -> None:
    def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
        return {(m["kind"], m["metadata"]["name"]): m for m in manifests}

    without, with_gateway = by_name(render(MODES[mode])), by_name(render(merged(MODES[mode], GATEWAY)))
    assert not [key for key in without if "gateway" in key[1]]
    added = with_gateway.keys() - without.keys()
    assert {kind for kind, _ in added} == KINDS
    assert {name for _, name in added} == {"scopewright-gateway", "scopewright-gateway-metrics"}
    assert {key: with_gateway[key] for key in without} == without


def test_the_gateway_may_read_configmaps_of_its_namespace_and_nothing_else() -> None:
    for values in (GATEWAY, EVERYTHING, FIXED, merged(GATEWAY, {"watchNamespaces": ["payroll"]})):
        rights = {("", "configmaps", verb, NAMESPACE, "") for verb in ("get", "list", "watch")}
        assert granted(render(values), "scopewright-gateway") == rights
        pod = pods(render(values))["scopewright-gateway"]["spec"]
        assert pod["serviceAccountName"] == "scopewright-gateway"
        assert pod["automountServiceAccountToken"] is False


def test_no_volume_of_the_gateway_holds_a_key_but_that_of_its_certificate() -> None:
    for values, certificate in ((GATEWAY, []), (FIXED, [{"name": "tls", "secret": {"secretName": "given"}}])):
        manifests = render(values)
        volumes = pods(manifests)["scopewright-gateway"]["spec"]["volumes"]
        assert [v for v in volumes if "secret" in v] == certificate
        assert {v["name"] for v in volumes} == {"identity", *(v["name"] for v in certificate)}
        assert {m["mountPath"] for m in containers(manifests)["gateway"]["volumeMounts"]} >= {IDENTITY}


def test_only_the_named_proxies_and_prometheus_reach_the_gateway() -> None:
    proxies = GATEWAY["networkPolicy"]["gatewayFrom"]
    policy = one(render(GATEWAY), "NetworkPolicy", "scopewright-gateway")["spec"]
    assert policy["ingress"] == [{"ports": [{"port": "gateway", "protocol": "TCP"}], "from": proxies}]
    monitoring = EVERYTHING["networkPolicy"]["metricsFrom"]
    monitored = merged(GATEWAY, {"networkPolicy": {"metricsFrom": monitoring}})
    _, rule = one(render(monitored), "NetworkPolicy", "scopewright-gateway")["spec"]["ingress"]
    assert rule == {"ports": [{"port": "gateway-metrics", "protocol": "TCP"}], "from": monitoring}
    pod = pods(render(GATEWAY))["scopewright-gateway"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= pod.items()


@pytest.mark.parametrize(("mode", "pods_of"), [("sidecar", "operator"), ("deployment", "issuer")])
def test_the_gateway_reaches_dns_the_api_server_and_the_issuer_only(mode: str, pods_of: str) -> None:
    manifests = render(merged(MODES[mode], GATEWAY))
    dns, api_server, issuer, url = one(manifests, "NetworkPolicy", "scopewright-gateway")["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert {port["port"] for port in api_server["ports"]} == {443, 6443}
    assert issuer["ports"] == [{"port": "issuer", "protocol": "TCP"}]
    [peer] = issuer["to"]
    labels = pods(manifests)[f"scopewright-{pods_of}"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    assert peer.keys() == {"podSelector"}, "in the namespace of the release"
    assert url["ports"] == [{"port": 443, "protocol": "TCP"}]
    assert {block["ipBlock"]["cidr"] for block in url["to"]} == {"0.0.0.0/0", "::/0"}
    narrowed = {"networkPolicy": {"issuer": {"cidrs": ["10.3.0.0/16"], "ports": [8443]}}}
    *_, url = one(render(merged(GATEWAY, narrowed)), "NetworkPolicy", "scopewright-gateway")["spec"]["egress"]
    assert url == {"ports": [{"port": 8443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.3.0.0/16"}}]}


def test_an_issuer_whose_callers_are_named_also_admits_the_gateway() -> None:
    callers = EVERYTHING["networkPolicy"]["issuerFrom"]
    restricted = {"networkPolicy": {"issuerFrom": callers}}
    manifests = render(merged(GATEWAY, restricted))
    [rule] = one(manifests, "NetworkPolicy", "scopewright-operator")["spec"]["ingress"]
    *others, gateway = rule["from"]
    assert others == callers
    labels = pods(manifests)["scopewright-gateway"]["metadata"]["labels"]
    assert gateway["podSelector"]["matchLabels"].items() <= labels.items()
    [rule] = one(render(restricted), "NetworkPolicy", "scopewright-operator")["spec"]["ingress"]
    assert rule["from"] == callers


@pytest.mark.parametrize(
    ("values", "port"),
    [(GATEWAY, {"name": "http", "port": 80}), (FIXED, {"name": "https", "port": 443, "appProtocol": "https"})],
    ids=["without TLS", "with TLS"],
)
def test_the_service_of_the_gateway_leads_to_its_port_and_declares_the_protocol(
    values: dict[str, Any], port: dict[str, Any]
) -> None:
    manifests = render(values)
    service = one(manifests, "Service", "scopewright-gateway")["spec"]
    assert service["ports"] == [{**port, "targetPort": "gateway"}]
    pod = pods(manifests)["scopewright-gateway"]
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    [container] = pod["spec"]["containers"]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert settings(manifests)["SCOPEWRIGHT_LISTEN"].endswith(f":{ports['gateway']}")
    assert settings(manifests)["SCOPEWRIGHT_METRICS_LISTEN"].endswith(f":{ports['gateway-metrics']}")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "gateway-metrics"


def test_the_certificate_has_the_names_of_the_service() -> None:
    manifests = render(EVERYTHING)
    certificate = one(manifests, "Certificate", "scopewright-gateway")["spec"]
    assert certificate["dnsNames"][0] == f"scopewright-gateway.{NAMESPACE}.svc"
    [volume] = [v for v in pods(manifests)["scopewright-gateway"]["spec"]["volumes"] if v["name"] == "tls"]
    assert volume["secret"]["secretName"] == certificate["secretName"] == "scopewright-gateway-tls"
    assert "Certificate" not in {m["kind"] for m in render(FIXED)}


def test_the_schema_has_the_profiles_and_identity_headers_of_the_command() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["gateway"]["properties"]
    assert set(schema["profiles"]["items"]["enum"]) == PROFILES.keys()
    [names] = schema["identityHeaders"]["patternProperties"]
    assert [value for value in DEFAULT_NAMES if not re.fullmatch(names, value)] == []
    page = (CHART / "values.yaml").read_text()
    assert [name for name in (*PROFILES, *DEFAULT_NAMES.values()) if name not in page] == []
    arguments = containers(render(EVERYTHING))["gateway"]["args"]
    flags = [a.removeprefix("--identity-header=") for a in arguments if a.startswith("--identity-header")]
    assert identity_headers(flags)["subject"] == "X-User"


def test_the_values_of_the_documentation_are_accepted() -> None:
    page = (ROOT / "docs/gateway/install.md").read_text()
    values = [
        block for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) if "kind:" not in block
    ]
    assert len(values) > 3
    for block in map(yaml.safe_load, values):
        manifests = render(merged(GATEWAY, block))
        config = yaml.safe_load(one(manifests, "ConfigMap", "scopewright-operator")["data"]["config.yaml"])
        Config.model_validate(config)


def test_profiles_and_headers_are_flags_of_the_command() -> None:
    arguments = containers(render(EVERYTHING))["gateway"]["args"]
    assert arguments == [
        "--profile=nginx",
        "--profile=envoy",
        "--identity-header=subject=X-User",
        "--identity-header=token-id=X-Token-Id",
        "--log-level=debug",
    ]
    assert containers(render(GATEWAY))["gateway"]["args"] == ["--profile=nginx"]


def test_the_replay_store_of_the_gateway_is_its_own_or_of_each_process() -> None:
    assert settings(render(GATEWAY))["SCOPEWRIGHT_REPLAY"] == "per-process"
    shared = merged(GATEWAY, {"gateway": {"replay": {"secretName": "valkey", "key": "gateway"}}})
    assert settings(render(shared))["SCOPEWRIGHT_REPLAY"] == {"secretKeyRef": {"name": "valkey", "key": "gateway"}}
    issuers = merged(GATEWAY, {"issuer": {"replay": {"secretName": "valkey"}}})
    assert settings(render(issuers))["SCOPEWRIGHT_REPLAY"] == "per-process"


def test_the_gateway_is_scaled_by_cpu_or_has_a_fixed_size() -> None:
    scaled, fixed = render(GATEWAY), render(FIXED)
    scaler = one(scaled, "HorizontalPodAutoscaler", "scopewright-gateway")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "scopewright-gateway"
    assert scaler["metrics"][0]["containerResource"]["container"] == "gateway"
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 8)
    assert "replicas" not in one(scaled, "Deployment", "scopewright-gateway")["spec"]
    assert one(fixed, "Deployment", "scopewright-gateway")["spec"]["replicas"] == 2
    scalers = {m["metadata"]["name"] for m in fixed if m["kind"] == "HorizontalPodAutoscaler"}
    assert "scopewright-gateway" not in scalers


def test_an_update_of_the_gateway_removes_no_pod_before_its_replacement_is_ready() -> None:
    deployment = one(render(merged(MODES["users, sidecar"], GATEWAY)), "Deployment", "scopewright-gateway")["spec"]
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
