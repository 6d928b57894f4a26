"""The rendered objects: minimal rights, no shared tokens or keys, and no internal endpoint exposed."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from scopewright import tracing
from scopewright.cli.commands import app
from scopewright.controller.preflight import claims_right, minting_right, rights
from scopewright.core.claims import LEASE_NAME
from scopewright.core.client.credentials import SECRET_TYPE
from scopewright.core.config import Config
from scopewright.core.records import names
from scopewright.core.records.names import WRITTEN_BY_ISSUERS
from scopewright.issuer.serving.proxies import trusted_proxies

from .cases import EVERYTHING, MODES, MORE
from .helm import NAMESPACE, Manifest, merged, one, render

Right = tuple[str, str, str, str, str]
"""API group, resource, verb, namespace ("" for all), and name ("" for any)."""

CONFIG = Config(issuer="https://issuer.example.org", namespace=NAMESPACE)
SIDECAR, DEPLOYMENT = MODES["sidecar"], MODES["deployment"]
BOTH = MODES["both, on the way from one to the other"]
IDENTITY = "/var/run/secrets/kubernetes.io/serviceaccount"


def granted(manifests: list[Manifest], account: str) -> set[Right]:
    """Every right of a ServiceAccount of the release."""

    def walk() -> Iterator[Right]:
        for binding in manifests:
            if not binding["kind"].endswith("RoleBinding"):
                continue
            if {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE} not in binding["subjects"]:
                continue
            where = binding["metadata"].get("namespace", "")
            named = [m for m in manifests if m["metadata"].get("namespace", "") == where]
            role = one(named, binding["roleRef"]["kind"], binding["roleRef"]["name"])
            for rule in role["rules"]:
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        for verb in rule["verbs"]:
                            for name in rule.get("resourceNames", [""]):
                                yield group, resource, verb, where, name

    return set(walk())


def pods(manifests: list[Manifest]) -> dict[str, dict[str, Any]]:
    """The Pod templates by the name of their Deployment."""
    return {m["metadata"]["name"]: m["spec"]["template"] for m in manifests if m["kind"] == "Deployment"}


def containers(manifests: list[Manifest]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for pod in pods(manifests).values() for c in pod["spec"]["containers"]}


def test_the_operators_rights_are_exactly_those_of_its_preflight() -> None:
    needed = {*((*right, "") for right in rights(CONFIG)), (*claims_right(), LEASE_NAME)}
    assert granted(render(DEPLOYMENT), "scopewright-operator") == needed
    minting = (*minting_right(CONFIG), "scopewright-issuer")
    for mode in (SIDECAR, BOTH):
        assert granted(render(mode), "scopewright-operator") == {*needed, minting}


def test_an_operator_of_some_namespaces_has_exactly_the_rights_of_its_preflight() -> None:
    some = MODES["some namespaces"]
    found = granted(render(some), "scopewright-operator") - {(*minting_right(CONFIG), "scopewright-issuer")}
    config = CONFIG.model_copy(update={"watch_namespaces": tuple(some["watchNamespaces"])})
    assert found == {*((*right, "") for right in rights(config)), (*claims_right(), LEASE_NAME)}
    everywhere = {(resource, verb, name) for _, resource, verb, where, name in found if not where}
    assert everywhere == {
        ("customresourcedefinitions", "get", ""),
        ("signingkeys", "list", ""),
        ("leases", "list", "scopewright-operator"),
    }


def test_the_issuer_may_read_its_namespace_and_update_two_objects_in_both_modes() -> None:
    reading = {
        ("", kind, verb, NAMESPACE, "") for kind in ("secrets", "configmaps") for verb in ("get", "list", "watch")
    }
    updating = {("", "configmaps", "update", NAMESPACE, name) for name in WRITTEN_BY_ISSUERS}
    for mode in (SIDECAR, DEPLOYMENT):
        assert granted(render(mode), "scopewright-issuer") == reading | updating
    reviewing = ("authentication.k8s.io", "tokenreviews", "create", "", "")
    assert granted(render(EVERYTHING), "scopewright-issuer") == {*reading, *updating, reviewing}


def test_the_policy_allows_every_type_of_secret_that_the_operator_writes() -> None:
    policy = one(render(), "ValidatingAdmissionPolicy", "scopewright-secrets")["spec"]
    types = {value for name, value in vars(names).items() if name.endswith("_TYPE")}
    [record] = [v["expression"] for v in policy["variables"] if v["name"] == "record"]
    assert set(re.findall(r"'(scopewright\.dev/[^']+)'", record)) == types
    assert f"'{SECRET_TYPE}'" in policy["validations"][0]["expression"]


def test_the_usual_roles_give_no_access_to_signing_keys() -> None:
    manifests = render()
    usual = [m for m in manifests if any("aggregate-to" in label for label in m["metadata"].get("labels", {}))]
    assert {label for m in usual for label in m["metadata"]["labels"] if "aggregate-to" in label} == {
        "rbac.authorization.k8s.io/aggregate-to-view",
        "rbac.authorization.k8s.io/aggregate-to-edit",
    }
    for role in usual:
        assert [rule["resources"] for rule in role["rules"]] == [["oauthclients", "resourceservers", "scopegrants"]]


@pytest.mark.parametrize("mode", MODES)
def test_each_container_has_only_its_own_token(mode: str) -> None:
    manifests = render(MODES[mode])
    for account in (m for m in manifests if m["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for pod in pods(manifests).values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        projecting = {v["name"] for v in pod["spec"]["volumes"] if "projected" in v}
        for container in pod["spec"]["containers"]:
            of_pod = pod["spec"]["serviceAccountName"] == f"scopewright-{container['name']}"
            assert bool(projecting & {m["name"] for m in container["volumeMounts"]}) is of_pod


def test_a_sidecar_issuer_reads_the_token_that_the_operator_creates() -> None:
    [pod] = pods(render(SIDECAR)).values()
    operator, issuer = pod["spec"]["containers"]
    [volume] = [v for v in pod["spec"]["volumes"] if v["name"] == "issuer-identity"]
    assert volume["emptyDir"]["medium"] == "Memory"
    settings = {e["name"]: e.get("value") for e in operator["env"]}
    [written] = [m for m in operator["volumeMounts"] if m["name"] == "issuer-identity"]
    assert written["mountPath"] == settings["SCOPEWRIGHT_ISSUER_IDENTITY"]
    assert settings["SCOPEWRIGHT_ISSUER_SERVICE_ACCOUNT"] == "scopewright-issuer"
    [read] = [m for m in issuer["volumeMounts"] if m["name"] == "issuer-identity"]
    assert read == {"name": "issuer-identity", "mountPath": IDENTITY, "readOnly": True}


def test_the_issuers_container_differs_between_modes_only_in_its_token() -> None:
    beside, apart = (containers(render(mode))["issuer"] for mode in (SIDECAR, DEPLOYMENT))
    [minted], [projected] = ([m for m in c["volumeMounts"] if m["mountPath"] == IDENTITY] for c in (beside, apart))
    assert (minted.pop("name"), projected.pop("name")) == ("issuer-identity", "identity")
    assert beside == apart


@pytest.mark.parametrize("mode", [SIDECAR, BOTH, MODES["everything, sidecar"]])
def test_a_sidecar_pod_stays_ready_while_its_operator_is_not(mode: dict[str, Any]) -> None:
    """A Pod is ready when all its containers are. Otherwise the issuer would leave its Service during an outage."""
    found = containers(render(mode))
    assert "readinessProbe" not in found["operator"]
    assert found["issuer"]["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "readinessProbe" in containers(render(DEPLOYMENT))["operator"]


def test_private_keys_are_in_memory_volumes_only() -> None:
    for mode in (SIDECAR, DEPLOYMENT):
        for pod in pods(render(mode)).values():
            for volume in pod["spec"]["volumes"]:
                assert volume.get("emptyDir", {"medium": "Memory"})["medium"] == "Memory"


def test_every_environment_variable_is_read_by_the_command() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for mode in MODES.values():
        for name, container in containers(render(mode)).items():
            assert container["command"] == ["scopewright", name]
            known = {str(option.envvar) for option in commands[name].params}
            given = {e["name"] for e in container["env"] if e not in MORE["extraEnv"]}
            assert {name for name in given if not name.startswith("OTEL_")} <= known


def test_trace_settings_are_set_only_if_configured() -> None:
    for mode, wanted in (
        (EVERYTHING, {"OTEL_EXPORTER_OTLP_ENDPOINT", *EVERYTHING["tracing"]["env"]}),
        (SIDECAR, set()),
    ):
        for container in containers(render(mode)).values():
            given = {e["name"]: e.get("value") for e in container["env"] if e["name"].startswith("OTEL_")}
            assert given.keys() == wanted
            assert not given or tracing.is_enabled(given)
            collector = [{"secretRef": {"name": "collector"}}, *MORE["extraEnvFrom"]]
            assert container.get("envFrom") == (collector if wanted else None)


@pytest.mark.parametrize("mode", ["everything, sidecar", "everything, deployment"])
def test_ingress_and_routes_lead_to_protocol_endpoints_only(mode: str) -> None:
    manifests = render(MODES[mode])
    [rule] = one(manifests, "Ingress")["spec"]["rules"]
    paths = [path["path"] for path in rule["http"]["paths"]]
    assert rule["host"] == "issuer.example.org"
    assert {path["pathType"] for path in rule["http"]["paths"]} == {"Exact"}
    assert "/oauth/token" in paths
    assert "/.well-known/oauth-authorization-server/oauth" in paths
    assert not [path for path in paths if path.endswith(("metrics", "healthz", "readyz"))]
    route = one(manifests, "HTTPRoute")["spec"]
    assert [m["path"] for m in route["rules"][0]["matches"]] == [{"type": "Exact", "value": p} for p in paths]
    assert route["hostnames"] == ["issuer.example.org"]
    certificate = one(manifests, "Certificate", "scopewright-issuer")["spec"]
    assert certificate["dnsNames"] == ["issuer.example.org", "scopewright-issuer.scopewright-system.svc"]


@pytest.mark.parametrize(("mode", "pods_of"), [("sidecar", "operator"), ("deployment", "issuer")])
def test_service_budget_and_network_policy_select_the_serving_pods(mode: str, pods_of: str) -> None:
    manifests = render(MODES[mode])
    labels = pods(manifests)[f"scopewright-{pods_of}"]["metadata"]["labels"]
    selectors = [
        one(manifests, "Service", "scopewright-issuer")["spec"]["selector"],
        one(manifests, "PodDisruptionBudget", f"scopewright-{pods_of}")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy", f"scopewright-{pods_of}")["spec"]["podSelector"]["matchLabels"],
    ]
    assert [s for s in selectors if not s.items() <= labels.items()] == []
    ports = {p["name"] for c in containers(manifests).values() for p in c["ports"]}
    assert one(manifests, "Service", "scopewright-issuer")["spec"]["ports"][0]["targetPort"] in ports


def test_during_a_change_of_mode_each_pod_is_as_in_its_mode_and_the_service_selects_both() -> None:
    there = render(BOTH)
    selector = one(there, "Service", "scopewright-issuer")["spec"]["selector"]
    for name, mode in (("operator", SIDECAR), ("issuer", DEPLOYMENT)):
        pod = pods(there)[f"scopewright-{name}"]
        assert pod == pods(render(mode))[f"scopewright-{name}"], "the last step must not restart the Pods"
        assert selector.items() <= pod["metadata"]["labels"].items()
        policy = one(there, "NetworkPolicy", f"scopewright-{name}")["spec"]
        assert {"ports": [{"port": "issuer", "protocol": "TCP"}]} in policy["ingress"]
    [serves] = one(there, "Service", "scopewright-issuer")["spec"]["ports"]
    bare = pods(render(DEPLOYMENT))["scopewright-operator"]["spec"]["containers"]
    assert serves["targetPort"] not in {port["name"] for c in bare for port in c["ports"]}, "no request reaches them"


@pytest.mark.parametrize(
    ("tls", "port"), [(False, {"name": "http", "port": 80}), (True, {"name": "https", "port": 443})]
)
def test_the_service_declares_its_protocol(tls: bool, port: dict[str, Any]) -> None:
    [found] = one(render({"tls": {"enabled": tls, "secretName": "edge"}}), "Service", "scopewright-issuer")["spec"][
        "ports"
    ]
    assert found == {**port, "targetPort": "issuer", **({"appProtocol": "https"} if tls else {})}


def test_a_network_policy_allows_no_metrics_and_only_the_api_server_by_default() -> None:
    apart = render(DEPLOYMENT)
    operator = one(apart, "NetworkPolicy", "scopewright-operator")["spec"]
    assert not operator["ingress"]
    assert set(operator["policyTypes"]) == {"Ingress", "Egress"}
    [tokens] = one(apart, "NetworkPolicy", "scopewright-issuer")["spec"]["ingress"]
    assert tokens == {"ports": [{"port": "issuer", "protocol": "TCP"}]}
    values = merged(DEPLOYMENT, {"networkPolicy": EVERYTHING["networkPolicy"]})
    from_monitoring = EVERYTHING["networkPolicy"]["metricsFrom"]
    [rule] = one(render(values), "NetworkPolicy", "scopewright-operator")["spec"]["ingress"]
    assert rule == {"ports": [{"port": "metrics", "protocol": "TCP"}], "from": from_monitoring}
    _, rule = one(render(values), "NetworkPolicy", "scopewright-issuer")["spec"]["ingress"]
    assert rule == {"ports": [{"port": "issuer-metrics", "protocol": "TCP"}], "from": from_monitoring}
    beside = merged(SIDECAR, {"networkPolicy": EVERYTHING["networkPolicy"]})
    _, rule = one(render(beside), "NetworkPolicy", "scopewright-operator")["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == ["metrics", "issuer-metrics"]
    egress = one(render(values), "NetworkPolicy", "scopewright-issuer")["spec"]["egress"]
    assert egress[1]["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]


@pytest.mark.parametrize("mode", ["everything, sidecar", "everything, deployment"])
def test_metrics_and_health_have_ports_that_callers_do_not_reach(mode: str) -> None:
    manifests = render(MODES[mode])
    issuer = containers(manifests)["issuer"]
    ports = {p["name"]: p["containerPort"] for p in issuer["ports"]}
    settings = {e["name"]: e.get("value") for e in issuer["env"]}
    assert settings["SCOPEWRIGHT_LISTEN"].endswith(f":{ports['issuer']}")
    assert settings["SCOPEWRIGHT_METRICS_LISTEN"].endswith(f":{ports['issuer-metrics']}")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert issuer[probe]["httpGet"]["port"] == "issuer-metrics"
        assert "scheme" not in issuer[probe]["httpGet"]
    [public] = one(manifests, "Service", "scopewright-issuer")["spec"]["ports"]
    assert public["targetPort"] == "issuer"


def test_the_issuer_trusts_configured_proxies_only() -> None:
    for mode, wanted in ((EVERYTHING, EVERYTHING["issuer"]["trustedProxies"]), (SIDECAR, None)):
        settings = {e["name"]: e.get("value") for e in containers(render(mode))["issuer"]["env"]}
        proxies = settings.get("SCOPEWRIGHT_TRUSTED_PROXIES")
        assert (proxies and proxies.split(",")) == wanted
        assert not proxies or trusted_proxies(proxies)


@pytest.mark.parametrize("mode", ["everything, sidecar", "everything, deployment"])
def test_prometheus_discovers_operator_issuer_and_gateway(mode: str) -> None:
    manifests = render(MODES[mode])
    monitor = one(manifests, "ServiceMonitor")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    [endpoint] = monitor["endpoints"]
    found = {
        m["metadata"]["name"]: port["targetPort"]
        for m in manifests
        if m["kind"] == "Service" and wanted <= m["metadata"]["labels"].items()
        for port in m["spec"]["ports"]
        if port["name"] == endpoint["port"]
    }
    assert found == {
        "scopewright-operator-metrics": "metrics",
        "scopewright-issuer-metrics": "issuer-metrics",
        "scopewright-gateway-metrics": "gateway-metrics",
    }
    for name, target in found.items():
        selector = one(manifests, "Service", name)["spec"]["selector"].items()
        [pod] = [p for p in pods(manifests).values() if selector <= p["metadata"]["labels"].items()]
        assert target in {port["name"] for c in pod["spec"]["containers"] for port in c["ports"]}
