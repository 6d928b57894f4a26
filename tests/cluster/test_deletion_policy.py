"""deletionPolicy: Retain. Pruning and re-creating a client by GitOps keeps its credential, for that client only."""

from typing import Any

from .installation import Installation
from .kube import Manifest
from .payroll import MakeNamespace, Payroll
from .waiting import eventually, throughout, until


def with_policy(payroll: Payroll, policy: str, **rotation: Any) -> Manifest:
    """The payroll client with a deletionPolicy."""
    spec = {**payroll.client["spec"], "credentials": {"deletionPolicy": policy}}
    return {**payroll.client, "spec": {**spec, **({"rotation": rotation} if rotation else {})}}


def secret(installation: Installation, payroll: Payroll) -> Manifest | None:
    return installation.kube.get("Secret", payroll.caller, "leave-worker-oauth")


def owners(installation: Installation, payroll: Payroll) -> list[str]:
    found = secret(installation, payroll)
    assert found is not None
    return [owner["uid"] for owner in found["metadata"].get("ownerReferences", ())]


def prune(installation: Installation, payroll: Payroll) -> None:
    installation.delete(payroll.client)
    until(lambda: installation.client_record(payroll.client) is None)


def test_a_retained_credential_is_refused_while_the_client_is_deleted_and_works_afterwards(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    client = with_policy(payroll, "Retain")
    installation.apply_and_wait(payroll.server, payroll.grant, client)
    credentials = installation.credentials(client)
    token = installation.token(*credentials)
    before = secret(installation, payroll)
    assert not owners(installation, payroll)
    prune(installation, payroll)
    assert eventually(lambda: installation.error(*credentials) == "invalid_client", seconds=5)
    # The garbage collector runs and must not delete it.
    assert throughout(3, lambda: secret(installation, payroll) == before)
    installation.apply_and_wait(client)
    assert secret(installation, payroll) == before, "the Secret must be unchanged"
    assert installation.token(*credentials) != token
    assert [e["reason"] for e in installation.status(client)["history"]].count("CredentialAdopted") == 1


def check_new_credential_after_prune(
    installation: Installation, payroll: Payroll, policy: str, **rotation: Any
) -> None:
    """A retained client is pruned and re-created with this policy: it gets a new credential."""
    installation.apply_and_wait(payroll.server, payroll.grant, with_policy(payroll, "Retain"))
    client_id, old = installation.credentials(payroll.client)
    prune(installation, payroll)
    installation.apply_and_wait(with_policy(payroll, policy, **rotation))
    assert installation.accepts(*installation.new_credentials(payroll.client, old))
    assert not installation.accepts(client_id, old)


def test_a_recreated_client_with_policy_delete_inherits_nothing(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    check_new_credential_after_prune(installation, Payroll(make_namespace), "Delete")


def test_a_credential_revoked_by_the_recreated_client_is_not_adopted(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    check_new_credential_after_prune(
        installation, Payroll(make_namespace), "Retain", revokedBefore="2999-01-01T00:00:00Z"
    )


def test_a_change_of_policy_changes_the_owner_reference_and_not_the_credential(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(payroll.server, payroll.grant, with_policy(payroll, "Delete"))
    credentials = installation.credentials(payroll.client)
    uid = installation.read(payroll.client)["metadata"]["uid"]
    assert owners(installation, payroll) == [uid]
    installation.apply_and_wait(with_policy(payroll, "Retain"))
    until(lambda: owners(installation, payroll) == [])
    installation.apply_and_wait(with_policy(payroll, "Delete"))
    until(lambda: owners(installation, payroll) == [uid])
    assert installation.credentials(payroll.client) == credentials
    installation.delete(payroll.client)
    until(lambda: secret(installation, payroll) is None)


def test_a_retained_secret_is_healed_and_renamed_like_any_other(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    client = with_policy(payroll, "Retain")
    installation.apply_and_wait(payroll.server, payroll.grant, client)
    _, old = installation.credentials(client)
    installation.kube.patch("Secret", payroll.caller, "leave-worker-oauth", {"data": {"client_secret": "ZWRpdGVk"}})
    _, healed = installation.new_credentials(client, old, "edited")
    assert installation.accepts(f"{payroll.caller}.leave-worker", healed)
    installation.kube.delete("Secret", payroll.caller, "leave-worker-oauth")
    installation.new_credentials(client, old, healed)
    installation.wait_until_ready(client)
