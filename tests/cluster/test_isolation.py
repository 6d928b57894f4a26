"""No team gets an audience, name, Secret or token of another team."""

import jwt
import pytest

from scopewright.core.objects import TEMPLATE_ANNOTATION

from .installation import Installation, encoded
from .kube import Manifest, Refused
from .manifests import access_entry, oauth_client, resource_server, scope_grant
from .payroll import MakeNamespace, Payroll
from .waiting import eventually, until

WEAK = "hunter2"


def uid(installation: Installation, manifest: Manifest) -> str:
    return str(installation.read(manifest)["metadata"]["uid"])


def client_part(token: str) -> str:
    """The part of the `jti` that is derived from the client's UID."""
    return str(jwt.decode(token, options={"verify_signature": False})["jti"])[:12]


# Audiences


@pytest.mark.parametrize(
    "audience",
    [
        "https://somewhere.example",
        "https://hr.example/apis",
        "https://hr.example/apis/payroll",
        "https://hr.example/apisandmore",
        "https://hr.example",
        "http://hr.example/apis/payroll",
        "https://hr.example:8443/apis/payroll",
        "https://www.hr.example/apis/payroll",
    ],
)
def test_an_audience_outside_the_namespaces_prefixes_is_refused(
    installation: Installation, make_namespace: MakeNamespace, audience: str
) -> None:
    namespace = make_namespace("payroll")
    server = resource_server(namespace, "api", "a", audience=audience)
    client = oauth_client(namespace, "caller", {"resourceServer": "api", "scopes": ["a"]})
    installation.apply(server, client)
    assert (
        f"namespace {namespace} may not claim {audience}"
        in installation.wait_for(server, "AudienceNotAllowed")["message"]
    )
    installation.wait_until_ready(client)
    credentials = installation.credentials(client)
    assert installation.error(*credentials) == "invalid_target"
    assert installation.error(*credentials, resource=audience) == "invalid_target"


def test_an_audience_beside_the_namespaces_prefix_is_refused(installation: Installation) -> None:
    owner = installation.make_audience_namespace()
    for number, audience in enumerate(
        ("https://hr.example/apisandmore", "https://hr.example", "http://hr.example/apis", "https://hr.example/api")
    ):
        server = resource_server(owner, f"beside-{number}", "a", audience=audience)
        installation.apply(server)
        installation.wait_for(server, "AudienceNotAllowed")
        installation.delete(server)


@pytest.mark.parametrize("audience", ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"])
def test_the_api_servers_audiences_are_reserved(
    installation: Installation, make_namespace: MakeNamespace, audience: str
) -> None:
    server = resource_server(make_namespace("payroll"), "api", "a", audience=audience)
    installation.apply(server)
    assert "is reserved" in installation.wait_for(server, "AudienceNotAllowed")["message"]


def test_the_issuers_own_url_is_reserved(installation: Installation, make_namespace: MakeNamespace) -> None:
    server = resource_server(make_namespace("payroll"), "api", "a", audience=installation.issuer_url)
    installation.apply(server)
    assert "is reserved" in installation.wait_for(server, "AudienceNotAllowed")["message"]


def test_an_audience_that_is_the_name_of_another_service_is_refused(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    thief = make_namespace("thief")
    for audience in (payroll.audience, payroll.audience + ".cluster.local", payroll.audience + "/v1"):
        server = resource_server(thief, "payroll-api", "payroll.read", audience=audience)
        installation.apply(server)
        assert "is the name of a Service" in installation.wait_for(server, "AudienceNotAllowed")["message"]
        installation.delete(server)
    installation.token(*installation.credentials(payroll.client))


def test_the_default_namespace_cannot_use_the_api_servers_name(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """It would be the default audience of a ResourceServer `kubernetes` in namespace `default`."""
    server = resource_server("default", "kubernetes", "a")
    installation.apply(server)
    try:
        assert "is reserved" in installation.wait_for(server, "AudienceNotAllowed")["message"]
    finally:
        installation.delete(server)


# Grants


def test_a_grant_in_another_namespace_grants_nothing(installation: Installation, make_namespace: MakeNamespace) -> None:
    payroll = Payroll(make_namespace)
    own = scope_grant(payroll.caller, "mine", "payroll-api", ["payroll.read"], {"namespace": payroll.caller})
    installation.apply_and_wait(payroll.server, payroll.client)
    installation.apply(own)
    installation.wait_for(own, "ResourceServerNotFound")
    assert installation.error(*installation.credentials(payroll.client)) == "invalid_target"


def test_a_grant_to_one_client_does_not_cover_another(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    neighbour = oauth_client(payroll.caller, "neighbour", access_entry(payroll.owner, "payroll-api", "payroll.read"))
    installation.apply_and_wait(*payroll.manifests, neighbour)
    assert installation.error(*installation.credentials(neighbour)) == "invalid_target"
    client_id, _ = installation.credentials(payroll.client)
    _, secret = installation.credentials(neighbour)
    assert installation.error(client_id, secret) == "invalid_client"


# Names are not identities


def test_a_recreated_client_inherits_nothing(installation: Installation, make_namespace: MakeNamespace) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    client_id, old = installation.credentials(payroll.client)
    token = installation.token(client_id, old)
    before = uid(installation, payroll.client)
    installation.delete(payroll.client)
    until(lambda: installation.kube.get("OAuthClient", payroll.caller, "leave-worker") is None)
    installation.apply_and_wait(payroll.client)
    assert uid(installation, payroll.client) != before
    again, new = installation.new_credentials(payroll.client, old)
    assert again == client_id
    assert eventually(lambda: installation.accepts(again, new), seconds=5)
    assert installation.error(client_id, old) == "invalid_client"
    assert client_part(installation.token(again, new)) != client_part(token)
    assert client_part(installation.token(again, new)) == client_part(installation.token(again, new))


def test_a_client_in_a_recreated_namespace_inherits_nothing(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    client_id, old = installation.credentials(payroll.client)
    token = installation.token(client_id, old)
    installation.kube.delete("Namespace", "", payroll.caller)
    assert eventually(lambda: installation.error(client_id, old) == "invalid_client")
    until(lambda: installation.kube.get("Namespace", "", payroll.caller) is None, seconds=180)
    until(lambda: installation.client_record(payroll.client) is None, lambda: installation.logs(), seconds=180)
    installation.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": payroll.caller}})
    installation.apply_and_wait(payroll.client)
    again, new = installation.new_credentials(payroll.client, old)
    assert installation.error(client_id, old) == "invalid_client"
    assert client_part(installation.token(again, new)) != client_part(token)


def test_a_recreated_client_does_not_inherit_a_copied_secret(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """A user creates a copy of the former Secret for the new client: its seal is valid, for another UID."""
    namespace = make_namespace("leave")
    client, client_id, old = installation.provisioned_client(namespace)
    copy = installation.kube.get("Secret", namespace, "worker-oauth")
    assert copy is not None
    installation.delete(client)
    until(lambda: installation.kube.get("Secret", namespace, "worker-oauth") is None)
    until(lambda: installation.client_record(client) is None)
    for field in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
        copy["metadata"].pop(field, None)
    installation.kube.create(copy)
    installation.apply(client)
    until(lambda: installation.condition(client)["reason"] in ("SecretConflict", "Provisioned"))
    if installation.condition(client)["reason"] == "Provisioned":  # the garbage collector was faster
        assert installation.credentials(client)[1] != old
    assert installation.error(client_id, old) == "invalid_client"


# Planted Secrets


def planted(installation: Installation, client: Manifest, **metadata: object) -> Manifest:
    """A Secret with everything that can be copied from a managed one, and a secret that its author knows."""
    namespace, name = client["metadata"]["namespace"], client["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "servicebinding.io/oauth2",
        "metadata": {
            "name": f"{name}-oauth",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "scopewright", "scopewright.dev/client": name},
            "annotations": {"scopewright.dev/issue-time": "2026-01-01T00:00:00Z", "scopewright.dev/seal": "00" * 32},
            **metadata,
        },
        "data": encoded({"client_id": f"{namespace}.{name}", "client_secret": WEAK}),
    }


def test_a_secret_planted_before_its_client_is_never_accepted(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    client = oauth_client(make_namespace("leave"), "worker")
    secret = installation.kube.create(planted(installation, client))
    installation.apply(client)
    installation.wait_for(client, "SecretConflict")
    assert installation.read(secret) == secret
    assert installation.error(f"{client['metadata']['namespace']}.worker", WEAK) == "invalid_client"


def test_a_planted_secret_that_names_the_right_owner_is_never_accepted(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """The client exists but is paused, so its UID is known and it has no credential yet."""
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "worker")
    client["metadata"]["annotations"] = {"scopewright.dev/paused": "true"}
    installation.apply(client)
    owner = {
        "apiVersion": "scopewright.dev/v1alpha1",
        "kind": "OAuthClient",
        "name": "worker",
        "uid": uid(installation, client),
        "controller": True,
    }
    secret = installation.kube.create(planted(installation, client, ownerReferences=[owner]))
    installation.kube.patch(
        "OAuthClient", namespace, "worker", {"metadata": {"annotations": {"scopewright.dev/paused": None}}}
    )
    installation.wait_for(client, "SecretConflict")
    assert installation.read(secret) == secret
    assert installation.error(f"{namespace}.worker", WEAK) == "invalid_client"
    installation.delete(secret)
    installation.wait_until_ready(client)
    assert installation.error(f"{namespace}.worker", WEAK) == "invalid_client"
    assert installation.accepts(*installation.credentials(client))


def test_a_secret_replaced_by_a_planted_one_is_never_accepted(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """The record exists, so the Secret is healed with a new credential, not with the planted one."""
    namespace = make_namespace("leave")
    client, client_id, old = installation.provisioned_client(namespace)
    installation.kube.patch("Secret", namespace, "worker-oauth", {"data": encoded({"client_secret": WEAK})})
    _, new = installation.new_credentials(client, old, WEAK)
    assert installation.accepts(client_id, new)
    assert installation.accepts(client_id, old), "during the overlap"
    assert installation.error(client_id, WEAK) == "invalid_client"


def test_a_client_that_names_another_clients_secret_gets_no_credential(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    first = oauth_client(namespace, "first")
    second = oauth_client(namespace, "second", credentials={"secretName": "first-oauth"})
    installation.apply_and_wait(first)
    before = installation.kube.get("Secret", namespace, "first-oauth")
    client_id, secret = installation.credentials(first)
    installation.apply(second)
    installation.wait_for(second, "SecretConflict")
    installation.wait_two_resyncs()
    assert installation.kube.get("Secret", namespace, "first-oauth") == before
    assert installation.accepts(client_id, secret)
    assert installation.error(f"{namespace}.second", secret) == "invalid_client"
    installation.wait_until_ready(first)


def test_a_planted_record_outside_the_issuers_namespace_is_ignored(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """A Secret with the content of a record, in another namespace than the issuer's, has no effect."""
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "worker")
    installation.apply_and_wait(client)
    record = installation.client_record(client)
    assert record is not None
    ghost = oauth_client(namespace, "ghost")
    installation.kube.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": record["type"],
            "metadata": {
                "name": installation.client_record_name(ghost),
                "namespace": namespace,
                "labels": record["metadata"]["labels"],
            },
            "data": record["data"],
        }
    )
    assert installation.error(f"{namespace}.ghost", WEAK) == "invalid_client"


def test_a_secret_with_deeply_nested_annotations_does_not_stop_the_operator(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    client = oauth_client(make_namespace("leave"), "worker")
    installation.kube.create(planted(installation, client, annotations={TEMPLATE_ANNOTATION: "[" * 30_000}))
    installation.apply(client)
    installation.wait_for(client, "SecretConflict")
    assert installation.operator_is_running()


def test_the_issuer_of_an_object_cannot_be_changed(installation: Installation, make_namespace: MakeNamespace) -> None:
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "worker")
    installation.apply_and_wait(client)
    with pytest.raises(Refused, match="issuer"):
        installation.kube.patch("OAuthClient", namespace, "worker", {"spec": {"issuer": "another"}})
