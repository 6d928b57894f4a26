"""Login of users in the rendered objects: one issuer Pod with a volume for the sessions, and the users' endpoints."""

from pathlib import Path
from typing import Any

import pytest

from scopewright.core.records.names import IDENTITY_PROVIDER_TYPE
from scopewright.issuer.endpoints.metadata import openid_metadata
from scopewright.issuer.users.application import UserApplication
from tests.harness.users import UsersHarness

from .cases import MODES
from .helm import Manifest, merged, one, render
from .test_templates import containers, pods

ISSUERS = {"users, sidecar": "operator", "users, deployment": "issuer"}
"""The Deployment with the issuers, by mode."""
CLAIM = "scopewright-sessions"
EDGE = {"ingress": {"enabled": True}, "httpRoute": {"enabled": True, "parentRefs": [{"name": "edge"}]}}
USERS = MODES["users, sidecar"]


def persistence(**values: Any) -> dict[str, Any]:
    return {"users": {"sessions": {"persistence": values}}}


def sessions_volume(manifests: list[Manifest], deployment: str) -> Manifest:
    [volume] = [v for v in pods(manifests)[f"scopewright-{deployment}"]["spec"]["volumes"] if v["name"] == "sessions"]
    return {name: value for name, value in volume.items() if name != "name"}


@pytest.mark.parametrize("mode", ISSUERS)
def test_the_only_issuer_pod_has_the_file_on_a_volume_of_its_own(mode: str) -> None:
    manifests = render(MODES[mode])
    deployment = one(manifests, "Deployment", f"scopewright-{ISSUERS[mode]}")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    issuer = containers(manifests)["issuer"]
    file = Path({e["name"]: e.get("value") for e in issuer["env"]}["SCOPEWRIGHT_SESSIONS"])
    [mount] = [m for m in issuer["volumeMounts"] if m["name"] == "sessions"]
    assert (mount["mountPath"], mount.get("readOnly")) == (str(file.parent), None)
    assert sessions_volume(manifests, ISSUERS[mode]) == {"persistentVolumeClaim": {"claimName": CLAIM}}
    claim = one(manifests, "PersistentVolumeClaim", CLAIM)["spec"]
    assert claim == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@pytest.mark.parametrize("mode", ISSUERS)
def test_the_file_is_private_to_the_issuer(mode: str) -> None:
    manifests = render(MODES[mode])
    others = [c for name, c in containers(manifests).items() if name != "issuer"]
    assert not [m for c in others for m in c["volumeMounts"] if m["name"] == "sessions"]
    assert containers(manifests)["issuer"]["securityContext"]["readOnlyRootFilesystem"] is True
    security = pods(manifests)[f"scopewright-{ISSUERS[mode]}"]["spec"]["securityContext"]
    assert (security["runAsUser"], security["fsGroup"]) == (65532, 65532)
    assert security["fsGroupChangePolicy"] == "OnRootMismatch", (
        "else the kubelet adds rights of the group at each start"
    )


def test_operators_apart_from_the_issuer_are_updated_one_after_the_other() -> None:
    operator = one(render(MODES["users, deployment"]), "Deployment", "scopewright-operator")["spec"]
    assert (operator["replicas"], operator["strategy"]["type"]) == (2, "RollingUpdate")


def test_the_volume_may_be_a_given_claim_or_end_with_the_pod() -> None:
    given = render(merged(USERS, persistence(existingClaim="given")))
    assert sessions_volume(given, "operator") == {"persistentVolumeClaim": {"claimName": "given"}}
    brief = render(merged(USERS, persistence(enabled=False, size="600Mi")))
    assert sessions_volume(brief, "operator") == {"emptyDir": {"sizeLimit": "600Mi"}}
    for manifests in (given, brief):
        assert not [m for m in manifests if m["kind"] == "PersistentVolumeClaim"]
    fast = render(merged(USERS, persistence(storageClassName="fast", accessModes=["ReadWriteOncePod"])))
    claim = one(fast, "PersistentVolumeClaim", CLAIM)["spec"]
    assert (claim["storageClassName"], claim["accessModes"]) == ("fast", ["ReadWriteOncePod"])


SHARED = {"users": {"enabled": True, "sessions": {"valkey": {"secretName": "valkey", "key": "sessions"}}}}


@pytest.mark.parametrize(
    "values",
    [
        {"issuer": {"mode": "sidecar"}},
        {"issuer": {"mode": "sidecar"}, "operator": {"replicas": 3}},
        {"issuer": {"mode": "both"}},
        {"issuer": {"mode": "deployment"}},
        {"issuer": {"mode": "deployment", "autoscaling": {"enabled": False}, "replicas": 5}},
    ],
    ids=str,
)
def test_with_a_shared_store_issuers_are_installed_as_without_users(values: dict[str, Any]) -> None:
    """In the same number and with the same updates, and with the URL from its Secret."""
    manifests, without = render(merged(SHARED, values)), render(values)
    assert not [m for m in manifests if m["kind"] == "PersistentVolumeClaim"]
    scaled = [m for m in without if m["kind"] == "HorizontalPodAutoscaler"]
    assert [m for m in manifests if m["kind"] == "HorizontalPodAutoscaler"] == scaled
    issuers = 0
    for name, pod in pods(manifests).items():
        deployment, usual = one(manifests, "Deployment", name)["spec"], one(without, "Deployment", name)["spec"]
        assert (deployment.get("replicas"), deployment["strategy"]) == (usual.get("replicas"), usual["strategy"])
        assert pod["spec"]["volumes"] == pods(without)[name]["spec"]["volumes"]
        assert pod["spec"]["securityContext"] == pods(without)[name]["spec"]["securityContext"]
        for container in pod["spec"]["containers"]:
            url = [e for e in container["env"] if e["name"] == "SCOPEWRIGHT_SESSIONS"]
            secret = {"secretKeyRef": {"name": "valkey", "key": "sessions"}}
            is_issuer = container["name"] == "issuer"
            assert url == ([{"name": "SCOPEWRIGHT_SESSIONS", "valueFrom": secret}] if is_issuer else [])
            issuers += is_issuer
    assert issuers == (2 if values["issuer"]["mode"] == "both" else 1)
    assert {"/authorize", "/callback/"} <= exposed(render(merged(merged(SHARED, values), EDGE)))


def test_the_name_of_the_secret_alone_adds_no_users() -> None:
    store = {"users": {"sessions": {"valkey": {"secretName": "valkey"}}}}
    assert render(store) == render()


@pytest.mark.parametrize("mode", ["sidecar", "deployment", "both, on the way from one to the other"])
def test_without_users_there_is_nothing_of_them(mode: str) -> None:
    manifests = render(merged(MODES[mode], EDGE))
    assert not [m for m in manifests if m["kind"] == "PersistentVolumeClaim"]
    assert not [e for e in containers(manifests)["issuer"]["env"] if e["name"] == "SCOPEWRIGHT_SESSIONS"]
    for pod in pods(manifests).values():
        assert "sessions" not in [v["name"] for v in pod["spec"]["volumes"]]
        assert "fsGroupChangePolicy" not in pod["spec"]["securityContext"]
    assert exposed(manifests).isdisjoint(["/authorize", "/login/", "/callback/", "/userinfo"])
    assert len(one(manifests, "NetworkPolicy", "scopewright-operator")["spec"]["egress"]) == 2


def exposed(manifests: list[Manifest]) -> set[str]:
    """The paths of the Ingress; a prefix has a slash at its end. Those of the HTTPRoute must be the same."""
    [rule] = one(manifests, "Ingress")["spec"]["rules"]
    paths = {(p["pathType"], p["path"]) for p in rule["http"]["paths"]}
    assert {kind for kind, path in paths if path.endswith("/")} <= {"Prefix"}
    assert {kind for kind, path in paths if not path.endswith("/")} == {"Exact"}
    [matches] = [rule["matches"] for rule in one(manifests, "HTTPRoute")["spec"]["rules"]]
    routed = {(m["path"]["type"].removeprefix("Path"), m["path"]["value"]) for m in matches}
    assert routed == paths
    return {path for _, path in paths}


async def test_ingress_and_routes_lead_to_every_endpoint_and_page_of_users(tmp_path: Path) -> None:
    async with UsersHarness(tmp_path).running() as users:
        application, registry = users.issuer.issuer.users, users.issuer.issuer.registry
        assert isinstance(application, UserApplication)
        pages = {route.path for route in application._router.routes}  # type: ignore[attr-defined]
        record = registry.require_issuer()
        metadata = openid_metadata(record, registry.keys.jwks(users.issuer.clock()), revoking=True, users=True)
    endpoints = {
        str(value).removeprefix(record.issuer) for name, value in metadata.items() if name.endswith("_endpoint")
    }
    assert "/userinfo" in endpoints
    paths = exposed(render(merged(USERS, EDGE)))
    prefixes = tuple(path for path in paths if path.endswith("/"))
    assert [path for path in pages | endpoints if path not in paths and not path.startswith(prefixes)] == []
    unused = {p for p in prefixes if not any(page.startswith(p) for page in pages)}
    assert unused <= {"/callback/"}, "expose nothing that is not served"


@pytest.mark.parametrize("mode", ISSUERS)
def test_operator_and_issuer_may_reach_providers(mode: str) -> None:
    deployments = ("operator", "issuer") if ISSUERS[mode] == "issuer" else ("operator",)
    for name in deployments:
        *_, rule = one(render(MODES[mode]), "NetworkPolicy", f"scopewright-{name}")["spec"]["egress"]
        assert rule["ports"] == [{"port": 443, "protocol": "TCP"}]
        blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in rule["to"]}
        assert blocks == {"0.0.0.0/0": ["169.254.0.0/16"], "::/0": ["fe80::/10", "fd00:ec2::254/128"]}
    narrowed = {"networkPolicy": {"identityProviders": {"cidrs": ["10.3.0.0/16"], "ports": [8443]}}}
    *_, rule = one(render(merged(MODES[mode], narrowed)), "NetworkPolicy", "scopewright-operator")["spec"]["egress"]
    assert rule == {"ports": [{"port": 8443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.3.0.0/16"}}]}


def test_the_usual_roles_give_no_access_to_identity_providers_and_the_operator_writes_their_records_only() -> None:
    manifests = render(USERS)
    roles = [m for m in manifests if m["kind"] == "ClusterRole" and "aggregate-to" in str(m["metadata"]["labels"])]
    assert len(roles) == 2
    assert "identityproviders" not in str(roles)
    [record] = [
        v["expression"]
        for v in one(manifests, "ValidatingAdmissionPolicy", "scopewright-secrets")["spec"]["variables"]
        if v["name"] == "record"
    ]
    assert f"'{IDENTITY_PROVIDER_TYPE}'" in record
    assert "'scopewright.dev/identity-provider'" not in record
    assert "static-users" not in record
