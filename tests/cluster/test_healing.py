"""Objects that a user edits or deletes are restored, and accepted credentials keep working."""

import json
from datetime import UTC, datetime

import httpx
import jwt
import pytest

from .installation import Install, Installation, encoded
from .kube import Manifest
from .manifests import oauth_client, signing_key
from .payroll import MakeNamespace, Payroll
from .waiting import eventually, throughout, until


def secret_of(installation: Installation, client: Manifest) -> Manifest:
    found = installation.kube.get("Secret", client["metadata"]["namespace"], "worker-oauth")
    assert found is not None
    return found


def edit(installation: Installation, client: Manifest, change: Manifest) -> None:
    installation.kube.patch("Secret", client["metadata"]["namespace"], "worker-oauth", change)


# Secrets


def test_a_deleted_secret_is_recreated_within_seconds_and_the_old_value_is_still_accepted(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    client, client_id, old = installation.provisioned_client(make_namespace("leave"))
    installation.kube.delete("Secret", client["metadata"]["namespace"], "worker-oauth")
    assert eventually(
        lambda: installation.kube.get("Secret", client["metadata"]["namespace"], "worker-oauth") is not None, seconds=5
    )
    _, new = installation.new_credentials(client, old)
    assert installation.accepts(client_id, new)
    assert installation.accepts(client_id, old), "during the overlap"
    status = until(lambda: installation.status(client).get("credentials", {}).get("previousExpirationTime"))
    assert datetime.fromisoformat(status) > datetime.now(UTC)
    installation.wait_until_ready(client)


def test_an_edited_secret_gets_a_new_credential_and_the_old_one_is_accepted(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    client, client_id, old = installation.provisioned_client(make_namespace("leave"))
    edit(installation, client, {"data": encoded({"client_secret": "edited-by-hand"})})
    _, new = installation.new_credentials(client, old, "edited-by-hand")
    assert installation.accepts(client_id, new)
    assert installation.accepts(client_id, old)
    assert not installation.accepts(client_id, "edited-by-hand")


def test_another_edited_entry_is_repaired_without_a_new_credential(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    client, client_id, secret = installation.provisioned_client(make_namespace("leave"))
    before = installation.secret(client["metadata"]["namespace"], "worker-oauth")
    edit(installation, client, {"data": encoded({"token_endpoint": "https://evil.example/token", "more": "x"})})
    until(lambda: installation.secret(client["metadata"]["namespace"], "worker-oauth") == before)
    assert installation.accepts(client_id, secret)


def test_removed_labels_and_annotations_are_restored_without_a_new_credential(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """Without the label the watch reports the Secret as deleted. It must not be treated as deleted."""
    client, client_id, secret = installation.provisioned_client(make_namespace("leave"))
    before = secret_of(installation, client)["metadata"]
    for _ in range(4):  # more often than a credential would be healed
        edit(installation, client, {"metadata": {"labels": None}})
        until(lambda: secret_of(installation, client)["metadata"].get("labels") == before["labels"])
    edit(installation, client, {"metadata": {"annotations": None}})
    until(lambda: "scopewright.dev/seal" in secret_of(installation, client)["metadata"].get("annotations", {}))
    installation.wait_until_ready(client)
    assert installation.credentials(client) == (client_id, secret)
    assert installation.accepts(client_id, secret)
    assert "CredentialHealed" not in [entry["reason"] for entry in installation.status(client)["history"]]


def test_foreign_labels_and_annotations_stay(installation: Installation, make_namespace: MakeNamespace) -> None:
    client, _, _ = installation.provisioned_client(make_namespace("leave"))
    foreign = {"metadata": {"labels": {"backup": "yes"}, "annotations": {"reloader.example/match": "true"}}}
    edit(installation, client, foreign)
    installation.annotate(client, rotate="now")
    until(lambda: [e for e in installation.status(client)["history"] if e["reason"] == "CredentialRotated"])
    meta = secret_of(installation, client)["metadata"]
    assert meta["labels"]["backup"] == "yes"
    assert meta["annotations"]["reloader.example/match"] == "true"


def test_healing_is_limited(installation: Installation, make_namespace: MakeNamespace) -> None:
    """Two controllers must not overwrite each other for ever. Credentials in the record stay accepted."""
    client, client_id, secret = installation.provisioned_client(make_namespace("leave"))
    namespace, seen = client["metadata"]["namespace"], [secret]
    edited = {"data": encoded({"client_secret": "edited-by-hand"})}

    def limited() -> str:
        edit(installation, client, edited)
        condition = installation.wait_for(client, "HealingLimited")
        assert installation.condition(client, "Stalled")["status"] == "True"
        assert throughout(2, lambda: installation.credentials(client)[1] == "edited-by-hand")
        return str(condition["message"])

    for _ in range(3):
        edit(installation, client, edited)
        seen.append(installation.new_credentials(client, *seen, "edited-by-hand")[1])
        installation.wait_until_ready(client)
    assert "set another value of the annotation scopewright.dev/rotate, or delete the Secret" in limited()
    assert all(installation.accepts(client_id, value) for value in seen)
    # Both remedies work at once.
    installation.annotate(client, rotate="now")
    _, rotated = installation.new_credentials(client, *seen, "edited-by-hand")
    installation.wait_until_ready(client)
    assert installation.accepts(client_id, rotated)
    limited()
    installation.kube.delete("Secret", namespace, "worker-oauth")
    _, healed = installation.new_credentials(client, *seen, rotated, "edited-by-hand")
    installation.wait_until_ready(client)
    assert installation.accepts(client_id, healed)


def test_a_secret_that_is_deleted_repeatedly_is_recreated_each_time(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    client, _, secret = installation.provisioned_client(make_namespace("leave"))
    seen = [secret]
    for _ in range(5):
        installation.kube.delete("Secret", client["metadata"]["namespace"], "worker-oauth")
        seen.append(installation.new_credentials(client, *seen)[1])
        installation.wait_until_ready(client)


# Records


def test_a_deleted_record_is_rebuilt_from_the_secret_without_changing_the_credential(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    client, client_id, secret = installation.provisioned_client(make_namespace("leave"))
    before = secret_of(installation, client)["metadata"]["resourceVersion"]
    installation.kube.delete("Secret", installation.namespace, installation.client_record_name(client))
    until(lambda: installation.client_record(client))
    assert eventually(lambda: installation.accepts(client_id, secret), seconds=5)
    installation.wait_until_ready(client)
    assert secret_of(installation, client)["metadata"]["resourceVersion"] == before


def test_a_deleted_record_is_not_rebuilt_from_a_secret_with_a_broken_seal(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """The record is deleted and the Secret edited: the edited value is not accepted."""
    namespace = make_namespace("leave")
    client, client_id, old = installation.provisioned_client(namespace)
    installation.annotate(client, paused="true")
    until(lambda: "paused" in str(installation.read(client)["metadata"]["annotations"]))
    edit(installation, client, {"data": encoded({"client_secret": "edited-by-hand"})})
    installation.kube.delete("Secret", installation.namespace, installation.client_record_name(client))
    installation.annotate(client, paused=None)
    installation.wait_for(client, "SecretConflict")
    assert not installation.accepts(client_id, "edited-by-hand")
    installation.kube.delete("Secret", namespace, "worker-oauth")
    installation.wait_until_ready(client)
    assert installation.accepts(*installation.new_credentials(client, old, "edited-by-hand"))


def test_an_edited_record_is_repaired(installation: Installation, make_namespace: MakeNamespace) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    client_id, secret = installation.credentials(payroll.client)
    for content in ("not json", '{"namespace": "x"}'):
        installation.kube.patch(
            "Secret",
            installation.namespace,
            installation.client_record_name(payroll.client),
            {"data": encoded({"record.json": content})},
        )
        assert installation.accepts(client_id, secret), "the last good record is kept"
        until(lambda given=content: given not in str(decoded_record(installation, payroll.client)))  # type: ignore[misc]
    name = f"resourceserver.{payroll.owner}.payroll-api"
    installation.kube.patch("ConfigMap", installation.namespace, name, {"data": {"record.json": "nonsense"}})
    installation.token(client_id, secret)
    until(
        lambda: (
            (installation.kube.get("ConfigMap", installation.namespace, name) or {})["data"]
            != {"record.json": "nonsense"}
        )
    )
    installation.kube.delete("ConfigMap", installation.namespace, name)
    until(lambda: installation.kube.get("ConfigMap", installation.namespace, name))
    assert eventually(lambda: installation.error(client_id, secret) == "", seconds=5)


def decoded_record(installation: Installation, client: Manifest) -> str:
    return installation.secret(installation.namespace, installation.client_record_name(client))["record.json"]


def test_a_restored_secret_without_its_owner_is_adopted(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    """A restore gives new UIDs and drops owner references. Nothing rotates."""
    namespace = make_namespace("leave")
    client, client_id, secret = installation.provisioned_client(namespace)
    backup = secret_of(installation, client)
    backup["metadata"] = {
        "name": "worker-oauth",
        "namespace": namespace,
        "labels": backup["metadata"]["labels"],
        "annotations": backup["metadata"]["annotations"],
    }
    installation.delete(client)
    until(lambda: installation.kube.get("Secret", namespace, "worker-oauth") is None)
    until(lambda: installation.client_record(client) is None)
    installation.kube.create(backup)
    installation.apply_and_wait(client)
    assert installation.credentials(client) == (client_id, secret)
    assert eventually(lambda: installation.accepts(client_id, secret), seconds=5)
    [owner] = secret_of(installation, client)["metadata"]["ownerReferences"]
    assert owner["uid"] == installation.read(client)["metadata"]["uid"]


# Requests of users


def test_the_rotate_annotation_rotates_once_with_overlap(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    client, client_id, old = installation.provisioned_client(make_namespace("leave"))
    installation.annotate(client, rotate="please")
    _, new = installation.new_credentials(client, old)
    assert installation.accepts(client_id, new)
    assert installation.accepts(client_id, old)
    installation.wait_until_ready(client)
    installation.wait_two_resyncs()
    assert installation.credentials(client)[1] == new, "one value rotates once"
    installation.annotate(client, rotate="again")
    _, third = installation.new_credentials(client, old, new)
    assert all(installation.accepts(client_id, value) for value in (old, new, third))


def test_revoked_before_ends_earlier_credentials_at_once(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    client, client_id, old = installation.provisioned_client(make_namespace("leave"))
    installation.annotate(client, rotate="once")
    _, newer = installation.new_credentials(client, old)
    now = datetime.now(UTC)
    until(lambda: datetime.now(UTC).replace(microsecond=0) > now)  # instants in manifests are whole seconds
    change = {"spec": {"rotation": {"revokedBefore": f"{datetime.now(UTC):%FT%TZ}"}}}
    installation.kube.patch("OAuthClient", client["metadata"]["namespace"], "worker", change)
    _, last = installation.new_credentials(client, old, newer)
    assert eventually(lambda: not installation.accepts(client_id, old), seconds=5)
    assert eventually(lambda: not installation.accepts(client_id, newer), seconds=5)
    assert installation.accepts(client_id, last)


def test_a_disabled_client_is_refused_and_keeps_its_credential(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    installation.kube.patch("OAuthClient", payroll.caller, "leave-worker", {"spec": {"disabled": True}})
    assert eventually(lambda: installation.error(*credentials) == "invalid_client", seconds=5)
    installation.wait_for(payroll.client, "Disabled")
    assert installation.credentials(payroll.client) == credentials
    installation.kube.patch("OAuthClient", payroll.caller, "leave-worker", {"spec": {"disabled": False}})
    assert eventually(lambda: installation.error(*credentials) == "", seconds=5)


def test_paused_stops_all_writes_for_one_object(installation: Installation, make_namespace: MakeNamespace) -> None:
    namespace = make_namespace("leave")
    client, client_id, secret = installation.provisioned_client(namespace)
    other = oauth_client(namespace, "other")
    installation.annotate(client, paused="true")
    until(lambda: installation.condition(client, "Paused")["status"] == "True")
    assert installation.condition(client)["status"] == "True"
    installation.annotate(client, rotate="please")
    installation.apply_and_wait(other)
    installation.kube.delete("Secret", namespace, "worker-oauth")
    # The status is still updated; record and Secret are not.
    installation.wait_for(client, "SecretMissing")
    before = installation.read(client), installation.client_record(client)
    installation.wait_two_resyncs()
    assert (installation.read(client), installation.client_record(client)) == before
    assert installation.kube.get("Secret", namespace, "worker-oauth") is None
    assert installation.accepts(client_id, secret)
    installation.annotate(client, paused=None)
    assert installation.accepts(*installation.new_credentials(client, secret))
    installation.wait_until_ready(client)
    assert installation.condition(client, "Paused")["status"] == ""


# Keys


def served_keys(installation: Installation) -> list[dict[str, str]]:
    keys: list[dict[str, str]] = httpx.get(f"{installation.issuer_url}/jwks.json", trust_env=False).json()["keys"]
    return keys


def published(installation: Installation) -> list[dict[str, str]]:
    found = installation.kube.get("ConfigMap", installation.namespace, "scopewright-jwks")
    keys: list[dict[str, str]] = json.loads(found["data"]["jwks.json"])["keys"] if found else []
    return keys


PLANTED = {"kty": "EC", "crv": "P-256", "x": "x" * 43, "y": "y" * 43, "kid": "planted", "use": "sig", "alg": "ES256"}


def test_a_deleted_jwks_is_recreated_and_tokens_are_issued_meanwhile(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials, before = installation.credentials(payroll.client), published(installation)
    assert before
    for _ in range(3):
        installation.kube.delete("ConfigMap", installation.namespace, "scopewright-jwks")
        assert [k["kid"] for k in served_keys(installation)] == [k["kid"] for k in before]
        installation.token(*credentials)
        until(lambda: published(installation) == before)
    installation.token(*credentials)


def test_a_planted_key_is_never_served_and_leaves_the_jwks(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials, before = installation.credentials(payroll.client), published(installation)
    for keys in ([*before, PLANTED], [PLANTED], []):
        content = {"data": {"jwks.json": json.dumps({"keys": keys})}}
        installation.kube.patch("ConfigMap", installation.namespace, "scopewright-jwks", content)
        until(lambda: "planted" in str(served_keys(installation)) or published(installation) == before)
        assert "planted" not in str(served_keys(installation))
    assert eventually(lambda: [k["kid"] for k in served_keys(installation)] == [k["kid"] for k in before])
    token = installation.token(*credentials)
    assert jwt.get_unverified_header(token)["kid"] in [k["kid"] for k in before]


def test_a_removed_label_of_the_jwks_is_restored(installation: Installation) -> None:
    before = published(installation)
    installation.kube.patch("ConfigMap", installation.namespace, "scopewright-jwks", {"metadata": {"labels": None}})

    def labelled() -> bool:
        found = installation.kube.get("ConfigMap", installation.namespace, "scopewright-jwks")
        return found is not None and "app.kubernetes.io/managed-by" in found["metadata"].get("labels", {})

    assert eventually(labelled)
    assert published(installation) == before
    assert [k["kid"] for k in served_keys(installation)] == [k["kid"] for k in before]


def test_a_signing_key_in_another_namespace_is_reported(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    key = signing_key(make_namespace("leave"))
    before = installation.jwks()
    installation.apply(key)
    condition = installation.wait_for(key, "WrongNamespace")
    assert installation.namespace in condition["message"]
    assert installation.condition(key, "Stalled")["status"] == "True"
    assert installation.jwks() == before


@pytest.fixture(scope="module")
def with_rsa(install: Install) -> Installation:
    """Its SigningKey, with RS256, was declared before the operator first started."""
    return install("keys", initial_manifests=[signing_key("", algorithm="RS256")])


def test_the_keys_of_a_deleted_signing_key_stay_and_are_adopted_when_it_is_recreated(
    with_rsa: Installation, make_namespace: MakeNamespace
) -> None:
    installation = with_rsa
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    key = signing_key(installation.namespace, algorithm="RS256")
    installation.wait_until_ready(key)
    credentials, kids = installation.credentials(payroll.client), installation.jwks()
    token = installation.token(*credentials)
    assert jwt.get_unverified_header(token)["alg"] == "RS256"
    installation.delete(key)
    installation.wait_two_resyncs()
    assert installation.jwks() == kids
    installation.token(*credentials)
    assert installation.kube.get("SigningKey", installation.namespace, "default") is None, (
        "the operator must not recreate it"
    )
    installation.apply_and_wait(key)
    assert installation.jwks() == kids
    # Emergency revocation: earlier keys leave the JWKS now, and a new key signs at once.
    now = datetime.now(UTC)
    until(lambda: datetime.now(UTC).replace(microsecond=0) > now)
    change = {"spec": {"revokedBefore": f"{datetime.now(UTC):%FT%TZ}"}}
    installation.kube.patch("SigningKey", installation.namespace, "default", change)
    assert eventually(lambda: bool(installation.jwks()) and not set(installation.jwks()) & set(kids), seconds=10)
    # Between its publication and its first signature the issuer answers 503 with Retry-After.
    assert eventually(lambda: installation.error(*credentials) == "", seconds=5)
    fresh = jwt.get_unverified_header(installation.token(*credentials))["kid"]
    assert fresh not in kids
    assert fresh in installation.jwks()


def test_a_deleted_key_record_is_replaced_by_a_new_key(with_rsa: Installation, make_namespace: MakeNamespace) -> None:
    installation = with_rsa
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials, kids = installation.credentials(payroll.client), installation.jwks()
    for secret in installation.kube.list("Secret", installation.namespace):
        if secret["type"] == "scopewright.dev/signing-key-record":
            installation.kube.delete("Secret", installation.namespace, secret["metadata"]["name"])
    assert eventually(lambda: bool(installation.jwks()) and installation.jwks() != kids)
    assert eventually(lambda: installation.error(*credentials) == "")


def test_a_deleted_seal_key_is_restored(installation: Installation) -> None:
    before = installation.kube.get("Secret", installation.namespace, "scopewright-seal")
    assert before is not None
    installation.kube.delete("Secret", installation.namespace, "scopewright-seal")
    after = until(lambda: installation.kube.get("Secret", installation.namespace, "scopewright-seal"))
    assert after["data"] == before["data"]


def test_a_deleted_or_edited_issuer_record_is_restored(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    installation.kube.delete("ConfigMap", installation.namespace, "scopewright-issuer")
    installation.token(*credentials)
    until(lambda: installation.kube.get("ConfigMap", installation.namespace, "scopewright-issuer"))
    installation.kube.patch(
        "ConfigMap", installation.namespace, "scopewright-issuer", {"data": {"record.json": '{"issuer": "x"}'}}
    )
    installation.token(*credentials)
    until(
        lambda: (
            installation.issuer_url
            in str(installation.kube.get("ConfigMap", installation.namespace, "scopewright-issuer"))
        )
    )
