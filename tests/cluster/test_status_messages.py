"""The status says what to do next, and a refused change does not break what worked before."""

from datetime import UTC, datetime, timedelta

from .installation import Installation, encoded
from .kube import Manifest
from .manifests import access_entry, oauth_client, resource_server, scope_grant
from .payroll import MakeNamespace, Payroll


def stalled(installation: Installation, manifest: Manifest, reason: str) -> str:
    """Wait until Ready is False and Stalled is True for this reason; returns the message."""
    ready = installation.wait_for(manifest, reason)
    assert ready["status"] == "False"
    condition = installation.condition(manifest, "Stalled")
    assert (condition["status"], condition["reason"], condition["message"]) == ("True", reason, ready["message"])
    return str(ready["message"])


def not_stalled(installation: Installation, manifest: Manifest) -> bool:
    return all(c["type"] != "Stalled" for c in installation.status(manifest)["conditions"])


def test_an_ungranted_scope_names_the_owner_and_the_grant(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(payroll.server, payroll.client)
    condition = installation.wait_for(payroll.client, "NotGranted", "AccessGranted")
    assert f"Namespace {payroll.owner} does not grant payroll.read of payroll-api" in condition["message"]
    # The manifest in the message, applied by the owner, solves it.
    spec = condition["message"].split("ScopeGrant there: ")[1].rstrip(".")
    assert spec == (
        "{resourceServer: payroll-api, scopes: [payroll.read], "
        f"to: [{{namespace: {payroll.caller}, client: leave-worker}}]}}"
    )
    assert installation.status(payroll.client)["access"][0]["missing"] == ["payroll.read"]
    assert not_stalled(installation, payroll.client)
    installation.apply_and_wait(payroll.grant)
    installation.wait_for(payroll.client, "Granted", "AccessGranted")


def test_across_namespaces_a_missing_api_and_a_missing_grant_have_the_same_message(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    empty = make_namespace("payroll")
    elsewhere = oauth_client(payroll.caller, "other", access_entry(empty, "payroll-api", "payroll.read"))
    mistaken = oauth_client(payroll.caller, "third", access_entry(payroll.owner, "payroll-api", "no.such"))
    installation.apply_and_wait(payroll.server, payroll.client, elsewhere, mistaken)
    ungranted = installation.wait_for(payroll.client, "NotGranted", "AccessGranted")["message"]
    no_api = installation.wait_for(elsewhere, "NotGranted", "AccessGranted")["message"]
    no_scope = installation.wait_for(mistaken, "NotGranted", "AccessGranted")["message"]
    assert no_api.replace(empty, payroll.owner).replace("client: other", "client: leave-worker") == ungranted
    assert no_scope.replace("no.such", "payroll.read").replace("client: third", "client: leave-worker") == ungranted
    answers = [
        installation.post_token(*installation.credentials(client)) for client in (payroll.client, elsewhere, mistaken)
    ]
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1


def test_within_the_namespace_a_missing_api_or_scope_is_named(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("payroll")
    client = oauth_client(namespace, "nightly", access_entry(namespace, "payroll-api", "payroll.audit"))
    installation.apply_and_wait(client)
    message = installation.wait_for(client, "NotGranted", "AccessGranted")["message"]
    assert message == (
        "No ResourceServer payroll-api is served in this namespace: apply one that declares payroll.audit."
    )
    installation.apply_and_wait(resource_server(namespace, "payroll-api", "payroll.read"))
    until_said = "ResourceServer payroll-api does not declare payroll.audit: add it to its spec.scopes."
    installation.wait_for_message(client, "AccessGranted", until_said)
    installation.apply_and_wait(resource_server(namespace, "payroll-api", "payroll.read", "payroll.audit"))
    installation.wait_for(client, "Granted", "AccessGranted")


def test_an_audience_that_is_claimed_twice_stays_with_its_first_owner(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    owner = installation.make_audience_namespace()
    first = resource_server(owner, "first", "a", audience="https://hr.example/apis/twice")
    second = resource_server(owner, "second", "a", audience="https://hr.example/apis/twice")
    client = oauth_client(owner, "caller", {"resourceServer": "first", "scopes": ["a"]})
    installation.apply_and_wait(first, client)
    installation.token(*installation.credentials(client))
    installation.apply(second)
    assert "https://hr.example/apis/twice is taken" in stalled(installation, second, "AudienceConflict")
    installation.token(*installation.credentials(client))
    installation.wait_until_ready(first)
    # By record, not by age: deleting the first one does not free its audience.
    installation.delete(first)
    installation.kube.patch("ResourceServer", owner, "second", {"metadata": {"labels": {"look": "again"}}})
    installation.wait_two_resyncs()
    assert stalled(installation, second, "AudienceConflict")
    installation.apply_and_wait(first)
    installation.token(*installation.credentials(client))
    installation.delete(first, second, client)


def test_a_refused_claim_leaves_the_former_audience_in_force(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    wanted = resource_server(payroll.owner, "payroll-api", "payroll.read", audience="https://not-allowed.example")
    installation.apply(wanted)
    stalled(installation, wanted, "AudienceNotAllowed")
    installation.token(*installation.credentials(payroll.client), resource=payroll.audience)


def test_a_foreign_secret_of_the_same_name_is_not_written(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    foreign = installation.kube.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "worker-oauth", "namespace": namespace},
            "data": encoded({"password": "theirs"}),
        }
    )
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    message = stalled(installation, client, "SecretConflict")
    assert "Secret worker-oauth is not managed by Scopewright: choose another spec.credentials.secretName" in message
    assert installation.read(foreign) == foreign
    installation.apply_and_wait(oauth_client(namespace, "worker", credentials={"secretName": "another"}))
    assert installation.accepts(*installation.credentials(client, "another"))
    assert installation.read(foreign) == foreign


def test_after_deletion_of_the_conflicting_secret_the_client_is_ready(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    in_the_way = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "worker-oauth", "namespace": namespace}}
    installation.kube.create(in_the_way)
    client = oauth_client(namespace, "worker")
    installation.apply(client)
    stalled(installation, client, "SecretConflict")
    installation.kube.delete("Secret", namespace, "worker-oauth")
    installation.wait_until_ready(client)
    assert installation.accepts(*installation.credentials(client))


def test_an_unknown_scope_is_reported_and_the_known_ones_are_granted(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    to = {"namespace": payroll.caller}
    grant = scope_grant(payroll.owner, "reads", "payroll-api", ["payroll.read", "payroll.fly"], to)
    installation.apply_and_wait(payroll.server, payroll.client)
    installation.apply(grant)
    message = stalled(installation, grant, "UnknownScope")
    assert "ResourceServer payroll-api does not declare payroll.fly" in message
    installation.wait_for(payroll.client, "Granted", "AccessGranted")
    installation.token(*installation.credentials(payroll.client), scope="payroll.read")


def test_a_grant_without_its_resource_server_reports_it(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply(payroll.grant)
    message = stalled(installation, payroll.grant, "ResourceServerNotFound")
    assert "no ResourceServer payroll-api in this namespace" in message
    installation.apply_and_wait(*payroll.manifests)
    assert not_stalled(installation, payroll.grant)


def test_an_expired_grant_reports_it_and_grants_nothing(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    ended = f"{datetime.now(UTC) - timedelta(hours=1):%FT%TZ}"
    grant = payroll.granting({"namespace": payroll.caller}, expirationTime=ended)
    installation.apply_and_wait(payroll.server, payroll.client)
    installation.apply(grant)
    assert stalled(installation, grant, "Expired").startswith(f"expired at {ended}")
    assert installation.error(*installation.credentials(payroll.client)) == "invalid_target"
    installation.apply_and_wait(payroll.granting({"namespace": payroll.caller}))
    installation.wait_for(payroll.client, "Granted", "AccessGranted")
    installation.token(*installation.credentials(payroll.client))


def test_a_resource_server_without_a_key_to_sign_waits(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    server = resource_server(make_namespace("payroll"), "api", "a", tokens={"signingKey": "none-such"})
    installation.apply(server)
    assert (
        "SigningKey none-such has no key that signs yet"
        in installation.wait_for(server, "SigningKeyNotReady")["message"]
    )
    assert not_stalled(installation, server)


def test_each_event_is_recorded_once_in_the_history_and_as_an_event(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    installation.wait_for(payroll.client, "Granted", "AccessGranted")
    installation.wait_two_resyncs()
    history = [entry["reason"] for entry in installation.status(payroll.client)["history"]]
    assert history.count("CredentialIssued") == 1
    events = [
        e["reason"] for e in installation.kube.list("Event", payroll.caller) if e["regarding"]["name"] == "leave-worker"
    ]
    assert events.count("CredentialIssued") == 1


def test_an_object_of_an_unserved_issuer_gets_only_a_status(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """For an installation that serves another name see test_two_installations.py."""
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "foreign", issuer="another-installation")
    installation.kube.apply(client)
    installation.wait_two_resyncs()
    assert {c["reason"] for c in installation.status(client)["conditions"]} == {"IssuerNotServed"}
    assert installation.kube.get("Secret", namespace, "foreign-oauth") is None
