"""A deletion is effective at once, also while a finalizer keeps the object or its namespace is terminating."""

import time

from .installation import Installation
from .kube import Manifest
from .payroll import MakeNamespace, Payroll
from .waiting import eventually, throughout, until

FINALIZER = "example.org/archive"


def add_finalizer(installation: Installation, manifest: Manifest) -> None:
    """Add a finalizer, as another controller would."""
    meta = manifest["metadata"]
    change = {"metadata": {"finalizers": [FINALIZER]}}
    installation.kube.patch(manifest["kind"], meta["namespace"], meta["name"], change)


def remove_finalizer(installation: Installation, manifest: Manifest) -> None:
    meta = manifest["metadata"]
    change = {"metadata": {"finalizers": None}}
    installation.kube.patch(manifest["kind"], meta["namespace"], meta["name"], change)
    until(lambda: installation.kube.get(manifest["kind"], meta["namespace"], meta["name"]) is None)


def deleting_message(installation: Installation, manifest: Manifest) -> str:
    """Wait until the status reports the deletion and the finalizer; returns the message."""
    condition = installation.wait_for(manifest, "Deleting")
    assert condition["status"] == "False"
    assert FINALIZER in condition["message"]
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]

    def events() -> list[str]:
        found = installation.kube.list("Event", namespace)
        return [e["reason"] for e in found if e["regarding"]["name"] == name]

    assert eventually(lambda: "Deleting" in events())
    return str(condition["message"])


def delete_with_finalizer(
    installation: Installation, payroll: Payroll, manifest: Manifest, error: str, message: str
) -> tuple[str, str]:
    """Delete an object that has a finalizer. Returns the client's credentials, which now get this error."""
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    installation.token(*credentials)
    add_finalizer(installation, manifest)
    installation.delete(manifest)
    assert eventually(lambda: installation.error(*credentials) == error, seconds=5)
    assert message in deleting_message(installation, manifest)
    return credentials


def test_a_terminating_client_gets_no_token(installation: Installation, make_namespace: MakeNamespace) -> None:
    payroll = Payroll(make_namespace)
    refusal = "the issuer refuses this client"
    credentials = delete_with_finalizer(installation, payroll, payroll.client, "invalid_client", refusal)
    assert installation.client_record(payroll.client) is None
    assert throughout(2, lambda: installation.error(*credentials) == "invalid_client")
    remove_finalizer(installation, payroll.client)
    installation.apply_and_wait(payroll.client)
    assert installation.accepts(*installation.new_credentials(payroll.client, credentials[1]))


def test_a_terminating_grant_grants_nothing(installation: Installation, make_namespace: MakeNamespace) -> None:
    payroll = Payroll(make_namespace)
    delete_with_finalizer(installation, payroll, payroll.grant, "invalid_target", "it grants nothing")
    installation.wait_for(payroll.client, "NotGranted", "AccessGranted")
    remove_finalizer(installation, payroll.grant)


def test_a_terminating_resource_server_gets_no_tokens(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    delete_with_finalizer(installation, payroll, payroll.server, "invalid_target", "issues no tokens")
    installation.wait_for(payroll.grant, "ResourceServerNotReady")
    remove_finalizer(installation, payroll.server)


def test_nothing_is_written_to_a_terminating_namespace(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    namespace = payroll.caller
    clients = [{**payroll.client, "metadata": {"name": f"worker-{n}", "namespace": namespace}} for n in range(6)]
    installation.apply_and_wait(payroll.server, payroll.grant, payroll.client, *clients)
    credentials = installation.credentials(payroll.client)
    add_finalizer(installation, payroll.client)
    before = len(installation.log())
    installation.kube.delete("Namespace", "", namespace)
    assert eventually(lambda: installation.error(*credentials) == "invalid_client", seconds=30)
    until(lambda: not installation.kube.list("Secret", namespace))
    assert FINALIZER in installation.wait_for(payroll.client, "Deleting")["message"]
    time.sleep(2)
    assert not installation.kube.list("Secret", namespace)
    lines = [line for line in installation.log()[before:].splitlines() if namespace in line]
    assert len([line for line in lines if f"namespace {namespace} is being deleted" in line]) == 1
    assert not [line for line in lines if "WARNING" in line or "ERROR" in line]
    assert not [line for line in lines if f"created Secret {namespace}/" in line]
    remove_finalizer(installation, payroll.client)
    until(lambda: installation.kube.get("Namespace", "", namespace) is None)
    assert all(installation.client_record(client) is None for client in clients)
