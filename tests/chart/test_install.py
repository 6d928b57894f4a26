"""The chart on a real API server: install, use, requests without the right, upgrades, uninstall."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from kubernetes.aio.config import incluster_config

from scopewright.stores.kubernetes.connect import connect
from tests.cluster.conftest import connected
from tests.cluster.kube import Kube, Manifest, Refused
from tests.cluster.manifests import manifest, oauth_client, resource_server, signing_key
from tests.cluster.waiting import until
from tests.controlplane import ControlPlane

from .accounts import Account
from .cases import GATEWAY, MODES
from .helm import CHART, NAMESPACE, merged, render
from .helm import Refused as RefusedByHelm
from .release import NAME, Release
from .test_templates import pods

TEAM = "payroll"
"""A namespace of the HR example."""


@pytest.fixture(scope="module")
def release(plane: ControlPlane, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Installed, and the HR example applied: the two commands of the README."""
    with contextlib.closing(Release(plane, kube, tmp_path_factory.mktemp("release"))) as release:
        output = release.install()
        assert "kubectl apply --server-side -f examples/hr/manifests" in output, "the notes must name the next command"
        plane.restart_controllers()
        release.start()
        release.hr = release.apply_hr()
        yield release


@pytest.fixture(scope="module")
def operator(release: Release) -> Account:
    return release.account("operator")


@pytest.fixture(scope="module")
def issuer(release: Release) -> Account:
    return release.account("issuer")


def secret(namespace: str, name: str, kind: str, labels: dict[str, str] | None = None) -> Manifest:
    meta: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": meta, "stringData": {"a": "b"}}


OPERATOR_LABELS = {"app.kubernetes.io/managed-by": "scopewright"}


def test_two_commands_install_the_chart_and_a_working_example(release: Release) -> None:
    for declared in release.hr:
        until(lambda m=declared: release.ready(m), lambda m=declared: (release.read(m).get("status"), release.logs()))  # type: ignore[misc]
    release.credential = release.credentials_of("leave", "leave-service-oauth")
    token = release.token_for(*release.credential, "https://employee-api.employee.svc")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["scope"]) == (release.issuer_url, "employee.read")


def notes_of(release: Release, values: dict[str, Any]) -> str:
    output = release.helm("upgrade", NAME, str(CHART), "--dry-run", values=merged(release.values, values))
    return output.partition("\nNOTES:\n")[2]


def test_the_notes_say_how_an_ingress_reaches_a_tls_issuer(release: Release) -> None:
    tls = {"enabled": True, "secretName": "given"}
    annotations = {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}
    output = notes_of(release, {"tls": tls, "ingress": {"enabled": True}})
    assert "needs\ningress.annotations" in output
    assert "BackendTLSPolicy with the\nauthority of the certificate in Secret given" in output
    assert "speaks TLS" not in notes_of(release, {"tls": tls, "ingress": {"enabled": True, "annotations": annotations}})
    assert "speaks TLS" not in notes_of(release, {"ingress": {"enabled": True}})


def test_the_notes_warn_of_missing_egress_rules_and_untrusted_proxies(release: Release) -> None:
    def notes(values: dict[str, Any]) -> str:
        return notes_of(release, values)

    replay, traces = {"issuer": {"replay": {"secretName": "valkey"}}}, {"tracing": {"endpoint": "http://otlp:4318"}}
    assert "reach the Redis or Valkey of Secret valkey" in notes(replay)
    shared = {"users": {"enabled": True, "sessions": {"valkey": {"secretName": "sessions"}}}}
    assert "reach the Redis or Valkey of Secret sessions with the sessions of\nusers" in notes(shared)
    assert "no trace reaches http://otlp:4318" in notes(traces)
    for policy in ({"enabled": False}, {"egress": [{"ports": [{"port": 6379}]}]}):
        output = notes({**replay, **traces, **shared, "networkPolicy": policy})
        assert output
        assert "networkPolicy.egress" not in output
    assert "networkPolicy.egress" not in notes({})
    edge = {"ingress": {"enabled": True}}
    assert "until issuer.trustedProxies names its network" in notes(edge)
    assert "trustedProxies" not in notes({**edge, "issuer": {"trustedProxies": ["10.1.0.0/24"]}})


def test_the_issuers_token_is_of_its_own_service_account(release: Release) -> None:
    claims = jwt.decode((release.identity / "token").read_text(), options={"verify_signature": False})
    assert claims["sub"] == f"system:serviceaccount:{NAMESPACE}:scopewright-issuer"
    assert claims["exp"] - claims["iat"] <= 3607
    until(lambda: has_usage_report(release), release.logs)
    assert "Traceback" not in release.logs()


async def test_the_minted_files_work_as_a_pods_service_account_mount(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the issuer reads it in its Pod, where the folder is mounted at the usual path."""
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(release.identity / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(release.identity / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(release.plane.port))
    api = await connect(in_cluster=True)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    who = await api.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
    await api.close()
    assert who["status"]["userInfo"]["username"] == f"system:serviceaccount:{NAMESPACE}:scopewright-issuer"


def test_operator_and_issuer_restart_without_the_api_server_and_tokens_are_issued(release: Release) -> None:
    until(release.snapshot_is_current, release.logs)
    release.plane.stop_apiserver()
    try:
        release.restart()
        until(lambda: release.answers(f"{release.issuer_url}/readyz"), release.logs)
        token = release.token_for(*release.credential, "https://employee-api.employee.svc")
        assert jwt.decode(token, options={"verify_signature": False})["scope"] == "employee.read"
        # It is alive, as it waits, and not ready, as it reconciles nothing.
        until(lambda: release.answers(f"{release.health_url}/healthz"), release.logs)
        assert not release.answers(f"{release.health_url}/readyz")
    finally:
        release.plane.start_apiserver()
    until(lambda: release.answers(f"{release.health_url}/readyz"), release.logs)


def has_usage_report(release: Release) -> bool:
    """Whether the issuer has written the usage report."""
    found = release.kube.get("ConfigMap", NAMESPACE, "scopewright-usage")
    return found is not None and "used" in found["data"]["record.json"] and "{}" not in found["data"]["record.json"]


OPERATOR_MAY_NOT: list[tuple[str, str, Manifest | None]] = [
    # In other namespaces it may read only the Leases of operators, by name.
    ("GET", "/apis/coordination.k8s.io/v1/leases", None),
    ("GET", "/apis/coordination.k8s.io/v1/leases?fieldSelector=metadata.name%3Dkube-scheduler", None),
    ("PUT", f"/apis/coordination.k8s.io/v1/namespaces/{TEAM}/leases/scopewright-operator", {"spec": {}}),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/scopewright-operator/token", {"spec": {}}),
    ("POST", f"/api/v1/namespaces/{TEAM}/serviceaccounts/default/token", {"spec": {}}),
    ("POST", "/api/v1/namespaces/kube-system/serviceaccounts/default/token", {"spec": {}}),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", {"metadata": {"name": "p"}, "spec": {"containers": []}}),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/pods", None),
    ("POST", f"/api/v1/namespaces/{TEAM}/configmaps", {"metadata": {"name": "c"}}),
    ("GET", f"/api/v1/namespaces/{TEAM}/configmaps", None),
    ("POST", f"/apis/scopewright.dev/v1alpha1/namespaces/{TEAM}/signingkeys", {"metadata": {"name": "k"}}),
    ("DELETE", f"/apis/scopewright.dev/v1alpha1/namespaces/{NAMESPACE}/signingkeys/default", None),
    ("DELETE", f"/apis/scopewright.dev/v1alpha1/namespaces/{TEAM}/oauthclients/payroll-service", None),
    ("PATCH", f"/apis/scopewright.dev/v1alpha1/namespaces/{TEAM}/oauthclients/payroll-service", {"spec": {}}),
    ("DELETE", f"/api/v1/namespaces/{TEAM}/secrets", None),
    ("PATCH", f"/api/v1/namespaces/{TEAM}", {"metadata": {"labels": {"a": "b"}}}),
    ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", {"metadata": {"name": "r"}, "rules": []}),
    ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", None),
    ("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/oauthclients.scopewright.dev", None),
    ("GET", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", None),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}),
    ("GET", "/api/v1/nodes", None),
]

ISSUER_MAY_NOT: list[tuple[str, str, Manifest | None]] = [
    ("GET", "/api/v1/secrets", None),
    ("GET", "/api/v1/configmaps", None),
    ("GET", f"/api/v1/namespaces/{TEAM}/secrets", None),
    ("GET", f"/api/v1/namespaces/{TEAM}/secrets/payroll-service-oauth", None),
    ("GET", f"/api/v1/namespaces/{TEAM}/configmaps", None),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret(NAMESPACE, "s", "Opaque")),
    ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/secrets/scopewright-seal", {"metadata": {"labels": {"a": "b"}}}),
    ("DELETE", f"/api/v1/namespaces/{NAMESPACE}/secrets/scopewright-seal", None),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", {"metadata": {"name": "c"}}),
    ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/configmaps/scopewright-usage", {"data": {}}),
    ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/configmaps/scopewright-jwks", {"data": {}}),
    ("PUT", f"/api/v1/namespaces/{NAMESPACE}/configmaps/scopewright-jwks", {"data": {}}),
    ("PUT", f"/api/v1/namespaces/{NAMESPACE}/configmaps/scopewright-issuer", {"data": {}}),
    ("DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps/scopewright-usage", None),
    ("GET", "/apis/scopewright.dev/v1alpha1/oauthclients", None),
    ("GET", f"/apis/scopewright.dev/v1alpha1/namespaces/{NAMESPACE}/signingkeys", None),
    ("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/scopewright-operator", None),
    ("PUT", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/scopewright-operator", {"spec": {}}),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/scopewright-issuer/token", {"spec": {}}),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/scopewright-operator/token", {"spec": {}}),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", {"metadata": {"name": "p"}, "spec": {"containers": []}}),
    ("GET", "/api/v1/namespaces", None),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}),
]


GATEWAY_MAY_NOT: list[tuple[str, str, Manifest | None]] = [
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets", None),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets?watch=true", None),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/scopewright-seal", None),
    ("GET", "/api/v1/configmaps", None),
    ("GET", f"/api/v1/namespaces/{TEAM}/configmaps", None),
    ("GET", f"/api/v1/namespaces/{TEAM}/secrets/payroll-service-oauth", None),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", {"metadata": {"name": "c"}}),
    ("PUT", f"/api/v1/namespaces/{NAMESPACE}/configmaps/scopewright-revocations", {"data": {}}),
    ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/configmaps/scopewright-jwks", {"data": {}}),
    ("DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps/scopewright-issuer", None),
    ("GET", "/apis/scopewright.dev/v1alpha1/resourceservers", None),
    ("GET", f"/apis/scopewright.dev/v1alpha1/namespaces/{TEAM}/resourceservers", None),
    ("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/scopewright-operator", None),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/scopewright-issuer/token", {"spec": {}}),
    ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/scopewright-gateway/token", {"spec": {}}),
    ("GET", f"/api/v1/namespaces/{NAMESPACE}/pods", None),
    ("GET", "/api/v1/namespaces", None),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}}),
]


def test_requests_beyond_the_operators_rights_are_refused(release: Release, operator: Account) -> None:
    assert operator.request("GET", "/api/v1/namespaces")[0] == 200, "the token must be valid"
    claims = "/apis/coordination.k8s.io/v1/leases?fieldSelector=metadata.name%3Dscopewright-operator"
    assert operator.request("GET", claims)[0] == 200
    for method, path, body in OPERATOR_MAY_NOT:
        assert operator.request(method, path, body)[0] == 403, f"{method} {path}"
    assert operator.request("GET", "/api/v1/namespaces", None, {"Impersonate-User": "admin"})[0] == 403


def test_requests_beyond_the_issuers_rights_are_refused(release: Release, issuer: Account) -> None:
    assert issuer.request("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")[0] == 200, "the token must be valid"
    for method, path, body in ISSUER_MAY_NOT:
        assert issuer.request(method, path, body)[0] == 403, f"{method} {path}"


def test_the_operator_may_create_tokens_for_the_sidecar_issuer(release: Release, operator: Account) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/scopewright-issuer/token"
    assert operator.request("POST", path, {"spec": {"expirationSeconds": 600}})[0] == 201


@pytest.mark.parametrize(
    ("namespace", "kind", "labels", "message_part"),
    [
        (
            TEAM,
            "kubernetes.io/service-account-token",
            OPERATOR_LABELS,
            "no Secret of type kubernetes.io/service-account-token in",
        ),
        ("kube-system", "Opaque", OPERATOR_LABELS, "no Secret of type Opaque in kube-system"),
        (NAMESPACE, "Opaque", OPERATOR_LABELS, "no Secret of type Opaque in scopewright-system"),
        (
            TEAM,
            "scopewright.dev/client-record",
            OPERATOR_LABELS,
            "no Secret of type scopewright.dev/client-record in payroll",
        ),
        *(
            (space, f"scopewright.dev/{kind}", OPERATOR_LABELS, f"no Secret of type scopewright.dev/{kind} in {space}")
            for space, kind in (
                (NAMESPACE, "identity-provider"),
                (NAMESPACE, "static-users"),
                (TEAM, "identity-provider-record"),
            )
        ),
        (TEAM, "servicebinding.io/oauth2", {}, "the operator labels every Secret that it writes"),
    ],
)
def test_the_operator_may_not_create_secrets_of_other_types(
    release: Release, operator: Account, namespace: str, kind: str, labels: dict[str, str], message_part: str
) -> None:
    made = secret(namespace, "planted", kind, labels)
    made["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
    status, message = operator.request("POST", f"/api/v1/namespaces/{namespace}/secrets?dryRun=All", made)
    assert (status, message_part in message) == (403, True), message


def test_the_operator_may_create_secrets_of_its_types(release: Release, operator: Account) -> None:
    for namespace, kind in (
        (TEAM, "servicebinding.io/oauth2"),
        (NAMESPACE, "scopewright.dev/client-record"),
        (NAMESPACE, "scopewright.dev/identity-provider-record"),
    ):
        path = f"/api/v1/namespaces/{namespace}/secrets?dryRun=All"
        assert operator.request("POST", path, secret(namespace, "new", kind, OPERATOR_LABELS))[0] == 201


def test_the_operator_may_not_change_or_delete_foreign_secrets(release: Release, operator: Account) -> None:
    for kind, message_part in (
        ("Opaque", "no Secret of type Opaque"),
        ("servicebinding.io/oauth2", "Scopewright does not manage this Secret"),
        ("scopewright.dev/static-users", "no Secret of type scopewright.dev/static-users"),
    ):
        foreign = release.kube.create(secret(TEAM, f"theirs-{kind.rpartition('/')[2].lower()}", kind))
        path = f"/api/v1/namespaces/{TEAM}/secrets/{foreign['metadata']['name']}"
        labelled = {**foreign, "metadata": {**foreign["metadata"], "labels": OPERATOR_LABELS}}
        for method, body in (("PUT", labelled), ("DELETE", None)):
            status, message = operator.request(method, path, body)
            assert (status, message_part in message) == (403, True), f"{method} {kind}: {message}"


def test_a_credential_that_lost_its_label_is_still_healed(release: Release) -> None:
    """It has the operator's seal and an OAuthClient as owner, so the policy allows the write."""
    release.kube.patch("Secret", TEAM, "payroll-service-oauth", {"metadata": {"labels": None}})

    def labelled() -> bool:
        found = release.kube.get("Secret", TEAM, "payroll-service-oauth")
        return found is not None and OPERATOR_LABELS.items() <= found["metadata"].get("labels", {}).items()

    until(labelled, release.logs)


@pytest.fixture
def team(release: Release, plane: ControlPlane) -> Iterator[Kube]:
    """A user with only the role `edit` in a team's namespace."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dana"}
    meta = {"name": "dana", "namespace": TEAM}
    api = "rbac.authorization.k8s.io/v1"
    release.kube.apply(
        {"apiVersion": api, "kind": "RoleBinding", "metadata": meta, "roleRef": role, "subjects": [subject]}
    )
    with connected(plane.kubeconfig_for("dana")) as client, contextlib.closing(Kube(client)) as dana:
        until(lambda: allowed(lambda: dana.list("OAuthClient", TEAM)))
        yield dana


def allowed(request: Any) -> bool:
    try:
        request()
    except Refused as refused:
        if refused.status == 403:
            return False
        raise
    return True


def test_an_editor_of_a_namespace_may_edit_clients_apis_and_grants_but_no_key_and_no_provider(team: Kube) -> None:
    team.create(oauth_client(TEAM, "danas"))
    team.create(resource_server(TEAM, "danas-api", "read"))
    team.delete("OAuthClient", TEAM, "danas")
    team.delete("ResourceServer", TEAM, "danas-api")
    assert not allowed(lambda: team.create(signing_key(TEAM)))
    assert not allowed(lambda: team.list("SigningKey", TEAM))
    provider = {"static": {"usersRef": {"name": "users"}}}
    assert not allowed(lambda: team.create(manifest("IdentityProvider", TEAM, "danas", provider)))
    assert not allowed(lambda: team.list("IdentityProvider", TEAM))
    assert not allowed(lambda: team.list("OAuthClient", "leave"))


@pytest.mark.parametrize("mode", MODES)
def test_the_api_server_accepts_every_object_of_every_mode(release: Release, mode: str) -> None:
    """Strict validation. CRDs of cert-manager, Gateway API and Prometheus operator are not installed here."""
    foreign = ("Certificate", "HTTPRoute", "PrometheusRule", "ServiceMonitor", "CustomResourceDefinition")
    rendered = render(merged(MODES[mode], {"fullnameOverride": "tried"}))
    known = [m for m in rendered if m["kind"] not in foreign]
    file = release.folder / "rendered.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": known}))
    trying = ("apply", "--server-side", "--validate=strict", "--dry-run=server")
    output = release.kubectl(*trying, "--filename", str(file))
    assert len(output.splitlines()) == len(known)


@pytest.mark.parametrize("mode", MODES)
def test_the_pods_are_accepted_under_podsecurity_restricted(release: Release, mode: str) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    for template in pods(render(MODES[mode])).values():
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "tried"}}
        pod["spec"]["serviceAccountName"] = "scopewright-operator"  # this release has no gateway
        release.kube._request("POST", path, query={"dryRun": "All", "fieldValidation": "Strict"}, body=pod)
        pod["spec"]["containers"][-1]["securityContext"]["allowPrivilegeEscalation"] = True
        with pytest.raises(Refused, match="violates PodSecurity"):
            release.kube._request("POST", path, query={"dryRun": "All"}, body=pod)


def test_the_platforms_limits_are_enforced_by_admission_policies(release: Release) -> None:
    limits = {"maxSecretAge": "720h", "methods": ["ClientSecret", "PrivateKeyJWT", "None"]}
    release.upgrade(policies={"limits": limits}, config={"maxTokenLifetime": "20m"})
    too_old = oauth_client(TEAM, "limited", rotation={"every": "721h"})
    until(lambda: "credentials must not be older than 720h" in refusal(release.kube, too_old))
    suspended = oauth_client(TEAM, "limited", rotation={"every": "24h", "suspend": True})
    assert "rotation.suspend is not allowed" in refusal(release.kube, suspended)
    account = {"method": "ServiceAccount", "serviceAccount": {"name": "default"}}
    by_account = oauth_client(TEAM, "limited", authentication=account)
    assert "choose ClientSecret, PrivateKeyJWT" in refusal(release.kube, by_account)
    server = resource_server(TEAM, "limited", "read", tokens={"lifetime": "21m"})
    # Another policy, which may come into effect later.
    until(lambda: "at most 20m" in refusal(release.kube, server))
    assert not refusal(release.kube, oauth_client(TEAM, "limited", rotation={"every": "624h"}))
    assert not refusal(release.kube, resource_server(TEAM, "limited", "read", tokens={"lifetime": "20m"}))
    others = oauth_client(TEAM, "others", issuer="other", rotation={"every": "721h"})
    assert not refusal(release.kube, others), "the limits are for this installation only"


DAILY, WEEKLY = ({"start": "02:00", "duration": "1h", **days} for days in ({}, {"days": ["Sat"]}))
JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
KEYS = {"authentication": {"method": "PrivateKeyJWT", "jwks": {"keys": [JWK]}}}
PUBLIC = {
    "authentication": {"method": "None"},
    "grantTypes": ["authorization_code"],
    "login": {"redirectURIs": ["http://127.0.0.1/callback"]},
}


@pytest.mark.parametrize(
    ("rotation", "taken"),
    [
        ({}, False),
        ({"every": "625h"}, False),
        ({"every": "696h", "overlap": "6h"}, True),
        ({"every": "696h", "overlap": "6h", "maxOverlap": "25h"}, False),
        ({"every": "24h", "maxOverlap": "87600h"}, False),
        # Three rotations by hand; the fourth waits for the end of the first overlap.
        ({"every": "24h", "maxOverlap": "361h"}, False),
        ({"every": "24h", "maxOverlap": "360h"}, True),
        ({"every": "600h", "windows": [DAILY]}, False),
        ({"every": "599h", "windows": [DAILY]}, True),
        ({"every": "599h", "windows": [DAILY, WEEKLY]}, False),
        ({"every": "455h", "windows": [DAILY, WEEKLY]}, True),
    ],
    ids=str,
)
def test_no_secret_gets_older_than_the_platforms_maximum(
    release: Release, rotation: dict[str, Any], *, taken: bool
) -> None:
    output = refusal(release.kube, oauth_client(TEAM, "aged", rotation=rotation))
    assert taken != ("credentials must not be older than 720h" in output), output
    for without_secret in (KEYS, PUBLIC):
        assert not refusal(release.kube, oauth_client(TEAM, "aged", rotation=rotation, **without_secret)), (
            "a client without a secret has no such limit"
        )


def test_a_change_to_public_keys_does_not_extend_a_secret_beyond_the_maximum(release: Release) -> None:
    kube, at = release.kube, ("OAuthClient", TEAM, "changing")
    kube.create(oauth_client(TEAM, "changing", rotation={"every": "24h"}))
    with pytest.raises(Refused, match="credentials must not be older"):
        kube.patch(*at, {"spec": {"rotation": {"maxOverlap": "87600h"}, **KEYS}})
    kube.patch(*at, {"spec": KEYS})
    kube.patch(*at, {"spec": {"grantTypes": ["client_credentials"]}})
    for change in ({"maxOverlap": "87600h"}, {"suspend": True}):
        with pytest.raises(Refused, match="credentials must not be older"):
            kube.patch(*at, {"spec": {"rotation": change}})
    kube.delete(*at)


def test_only_the_platform_may_pause_a_client_under_the_limits(release: Release, team: Kube) -> None:
    paused = {"metadata": {"annotations": {"scopewright.dev/paused": "true"}}}
    client = oauth_client(TEAM, "held", rotation={"every": "24h"})
    held = {**client, "metadata": {**client["metadata"], **paused["metadata"]}}
    # Another policy, which may come into effect later.
    until(lambda: "set spec.disabled instead" in refusal(team, held))
    team.create(client)
    with pytest.raises(Refused, match="update SigningKeys in scopewright-system"):
        team.patch("OAuthClient", TEAM, "held", paused)
    release.kube.patch("OAuthClient", TEAM, "held", paused)
    team.patch("OAuthClient", TEAM, "held", {"metadata": {"labels": {"any": "label"}}})
    team.patch("OAuthClient", TEAM, "held", {"metadata": {"annotations": {"scopewright.dev/paused": None}}})
    team.delete("OAuthClient", TEAM, "held")


def refusal(kube: Kube, manifest: Manifest) -> str:
    """The API server's refusal in a dry run; "" if it accepts the object."""
    meta = manifest["metadata"]
    try:
        kube.create(manifest)
    except Refused as refused:
        return refused.message
    kube.delete(manifest["kind"], meta["namespace"], meta["name"])
    return ""


def test_the_gateway_is_added_by_an_upgrade_and_reads_only_configmaps_of_its_namespace(release: Release) -> None:
    release.upgrade(**GATEWAY)
    gateway = release.account("gateway")
    records = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    until(lambda: gateway.request("GET", records)[0] == 200)
    assert gateway.request("GET", f"{records}/scopewright-issuer")[0] == 200
    for method, path, body in GATEWAY_MAY_NOT:
        assert gateway.request(method, path, body)[0] == 403, f"{method} {path}"


def test_a_gateway_with_these_rights_decides_by_the_rules_of_an_api_and_by_its_tokens(
    release: Release, tmp_path: Path
) -> None:
    rules = [
        {"name": "health", "paths": ["/healthz"], "authentication": "None"},
        {"name": "read", "paths": ["/employees/**"], "methods": ["GET"], "scopes": ["employee.read"]},
        {"name": "move", "paths": ["/employees/**"], "methods": ["PUT"], "scopes": ["employee.write"]},
    ]
    release.kube.patch("ResourceServer", "employee", "employee-api", {"spec": {"http": {"rules": rules}}})
    token = release.token_for(
        *release.credentials_of("leave", "leave-service-oauth"), "https://employee-api.employee.svc"
    )
    url = f"{release.start_gateway(tmp_path)}/auth/nginx/employee-api.employee.svc"

    def ask(method: str, target: str, authorization: str = "") -> httpx.Response:
        headers = {"X-Original-Method": method, "X-Original-URI": target}
        headers |= {"Authorization": authorization} if authorization else {}
        return httpx.get(url, headers=headers, trust_env=False)

    until(lambda: ask("GET", "/healthz").status_code == 200, release.logs)
    allowed = ask("GET", "/employees/7?fields=name", f"Bearer {token}")
    assert (allowed.status_code, allowed.headers["X-Auth-Scope"]) == (200, "employee.read")
    refused = {
        ("GET", "/employees/7", ""): 401,
        ("GET", "/employees/7", "Bearer made-up"): 401,
        ("PUT", "/employees/7", f"Bearer {token}"): 403,
        ("DELETE", "/employees/7", f"Bearer {token}"): 403,
        ("GET", "/admin", f"Bearer {token}"): 403,
        ("GET", "/healthz/../admin", f"Bearer {token}"): 403,
    }
    assert {request: ask(*request).status_code for request in refused} == refused
    log = (release.folder / "gateway.log").read_text()
    assert "Traceback" not in log
    assert token not in log


def test_an_upgrade_removes_the_gateway_and_its_rights(release: Release) -> None:
    release.processes.pop().stop()
    gateway = release.account("gateway")
    release.upgrade(gateway={"enabled": False})
    assert release.kube.get("Deployment", NAMESPACE, "scopewright-gateway") is None
    until(lambda: gateway.request("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps")[0] in (401, 403))


def test_the_notes_say_how_proxies_reach_the_gateway(release: Release) -> None:
    output = notes_of(release, merged(GATEWAY, {"gateway": {"profiles": ["nginx", "envoy"]}}))
    for profile in ("nginx", "envoy"):
        assert f"http://scopewright-gateway.{NAMESPACE}.svc/auth/{profile}/HOSTNAME" in output
    assert "rollout status deployment/scopewright-gateway" in output
    assert "tokens of all requests are not encrypted" in output
    assert "can be used once per process" in output
    shared = {"gateway": {"tls": {"enabled": True, "secretName": "given"}, "replay": {"secretName": "valkey"}}}
    output = notes_of(release, merged(GATEWAY, shared))
    assert f"https://scopewright-gateway.{NAMESPACE}.svc/auth/nginx/HOSTNAME" in output
    assert "not encrypted" not in output
    assert "once per process" not in output
    assert "gateway cannot reach the Redis or Valkey of Secret valkey" in output
    assert ".svc:8443/auth/nginx" in notes_of(release, merged(GATEWAY, {"gateway": {"service": {"port": 8443}}}))
    assert "gateway" not in notes_of(release, {})


def test_an_operator_of_some_namespaces_serves_those_and_has_no_rights_elsewhere(
    release: Release, operator: Account
) -> None:
    release.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
    release.upgrade(watchNamespaces=["employee", TEAM, "leave", "staff"])
    release.stop()
    until(lambda: operator.request("GET", "/api/v1/secrets")[0] == 403)
    release.start()
    here, there = (
        release.kube.create(oauth_client(namespace, "late", rotation={"every": "24h"}))
        for namespace in (TEAM, "elsewhere")
    )
    until(lambda: release.ready(here), lambda: (release.read(here), release.logs()))
    assert release.read(there)["status"]["conditions"][0]["reason"] == "Pending"
    [selecting] = [m for m in release.hr if m["metadata"]["name"] == "hr-reads-employees"]
    until(lambda: "list the namespaces by name instead" in str(release.read(selecting)["status"]), release.logs)
    release.kube.delete("OAuthClient", TEAM, "late")
    until(lambda: release.kube.get("Secret", NAMESPACE, f"client.{TEAM}.late") is None, release.logs)
    for path in ("/api/v1/secrets", "/api/v1/namespaces", "/api/v1/namespaces/elsewhere/secrets"):
        assert operator.request("GET", path)[0] == 403, path
    credential = secret("elsewhere", "s", "servicebinding.io/oauth2", OPERATOR_LABELS)
    assert operator.request("POST", "/api/v1/namespaces/elsewhere/secrets", credential)[0] == 403
    release.kube.delete("Namespace", "", "elsewhere")


def test_an_upgrade_gives_the_only_pod_a_volume_for_sessions_and_another_takes_it_away(release: Release) -> None:
    def strategy() -> dict[str, Any]:
        found = release.kube.get("Deployment", NAMESPACE, "scopewright-operator")
        assert found is not None
        strategy: dict[str, Any] = found["spec"]["strategy"]
        return strategy

    def claim() -> Manifest | None:
        """None also while it waits for Pods that use it."""
        found = release.kube.get("PersistentVolumeClaim", NAMESPACE, "scopewright-sessions")
        return found if found and "deletionTimestamp" not in found["metadata"] else None

    release.upgrade(users={"enabled": True}, operator={"replicas": 1})
    assert (strategy(), claim() is None) == ({"type": "Recreate"}, False)
    release.upgrade(users={"enabled": False}, operator={"replicas": 2})
    assert strategy() == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert claim() is None


def test_the_notes_say_how_users_log_in(release: Release) -> None:
    users = {"users": {"enabled": True}, "operator": {"replicas": 1}}
    output = notes_of(release, users)
    assert f"register {release.issuer_url}/callback/NAME at your OpenID provider" in output
    assert "every update logs all users out" not in output
    brief = {"users": {"sessions": {"persistence": {"enabled": False}}}}
    assert "every update logs all users out" in notes_of(release, merged(users, brief))
    shared = {"users": {"enabled": True, "sessions": {"valkey": {"secretName": "valkey"}}}}
    assert "every update logs all users out" not in notes_of(release, merged(shared, brief))
    assert "IdentityProvider" not in notes_of(release, {})


def test_the_issuer_moves_to_its_own_deployment_and_the_operator_loses_the_right_to_create_tokens(
    release: Release, operator: Account, issuer: Account
) -> None:
    minting = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/scopewright-issuer/token"
    with pytest.raises(RefusedByHelm, match=r"sidecars before the issuers .* are ready\. .*=both"):
        release.upgrade(issuer={"mode": "deployment"})
    release.upgrade(issuer={"mode": "both", "tokenReview": True}, watchNamespaces=[])
    until(lambda: operator.request("POST", minting, {"spec": {}})[0] == 201)
    with pytest.raises(RefusedByHelm, match=r"the Deployment before the sidecars are ready\. .*=both"):
        release.upgrade(issuer={"mode": "sidecar"})
    set_rolled_out(release, "scopewright-issuer")
    release.upgrade(issuer={"mode": "deployment"})
    names = {d["metadata"]["name"] for d in release.kube.list("Deployment", NAMESPACE)}
    assert names == {"scopewright-operator", "scopewright-issuer"}
    until(lambda: operator.request("POST", minting, {"spec": {}})[0] == 403)
    review = ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "x"}})
    until(lambda: issuer.request(*review)[0] == 201)
    for method, path, body in (r for r in ISSUER_MAY_NOT if r[1] != review[1]):
        assert issuer.request(method, path, body)[0] == 403, f"{method} {path}"


def set_rolled_out(release: Release, name: str) -> None:
    """Write the status that the Deployment controller would write, which does not run here."""
    found = release.kube.get("Deployment", NAMESPACE, name)
    assert found is not None
    count = found["spec"]["replicas"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count)
    change = json.dumps({"status": {"observedGeneration": found["metadata"]["generation"], **counts}})
    where = ("--namespace", NAMESPACE, f"deployment/{name}")
    release.kubectl("patch", "--subresource=status", "--type=merge", "--patch", change, *where)


def test_an_uninstall_keeps_users_objects_and_blocks_no_deletion(release: Release) -> None:
    release.stop()
    release.uninstall()
    assert release.kube.list("Deployment", NAMESPACE) == []
    # The claim to the name is deleted with the operator's ServiceAccount, so that another installation may take over.
    until(lambda: release.kube.get("Lease", NAMESPACE, "scopewright-operator") is None)
    for account in ("operator", "issuer"):
        assert release.account(account).request("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")[0] in (401, 403)
    assert release.kube.get("Secret", TEAM, "payroll-service-oauth") is not None
    assert release.kube.get("CustomResourceDefinition", "", "oauthclients.scopewright.dev") is not None
    assert len(release.kube.list("OAuthClient", TEAM)) == 1
    namespaces = (NAMESPACE, "employee", TEAM, "leave", "staff")
    for name in namespaces:
        release.kube.delete("Namespace", "", name)

    def remaining() -> list[Manifest]:
        return [found for name in namespaces if (found := release.kube.get("Namespace", "", name))]

    until(lambda: not remaining(), seen=lambda: [n["status"] for n in remaining()])
